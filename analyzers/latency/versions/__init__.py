"""Two versions of a service side by side: is the canary slower than the baseline, does it fail more often?"""
