# Host 5 and 6 are not in the plan. They ask like all others, and first; they begin only in the last wave, and one only.
fleet 7
plan waves 1,2,2 late 1
start
run 2h
show
