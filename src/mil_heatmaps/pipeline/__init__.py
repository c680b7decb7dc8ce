"""One cohort's run: plan, act, sum up; comparing runs."""
