"""Building blocks of networks, independent of any model: layers, and passes over a long bag in bounded memory."""
