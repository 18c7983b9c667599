# One host of the class lacks what the canary has. It has changed nothing, and the others go on. Another cannot be asked twice, a
# third never.
fleet 5
plan waves 1,4 proven 50 skipped 1 bad 1
host 2 unfit
host 3 unasked 2
host 4 unasked 9
start
run 2h
show
