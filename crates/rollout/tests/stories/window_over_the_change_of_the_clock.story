# Sunday 29 March 2026, Zurich: 02:00 to 03:00 does not exist. The window of 02:30 opens at 03:30 (01:30 UTC).
fleet 3
plan waves 1,2 window Sunday@02:30+90@Europe/Zurich
start
run 5d
show
run 25h
show
run 12h
show
