"""Numbers over a cohort: whether models agree, whether they look where pathologists drew, what high patches share."""
