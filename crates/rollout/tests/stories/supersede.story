# A second plan replaces the first in its second wave. No host is under change by both.
fleet 6
plan waves 1,5 at-once 2
start
run 12m
supersede waves 1,5
start 2
run 3h
show
