"""Numbers over a cohort: do models agree, do they look where the pathologist drew, what do high patches share."""
