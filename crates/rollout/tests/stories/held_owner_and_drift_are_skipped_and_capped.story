# Three ways to skip; two are borne.
fleet 6
plan waves 1,5 proven 40 skipped 2
host 1 held
host 2 never
host 3 drifted
start
run 2h
show
