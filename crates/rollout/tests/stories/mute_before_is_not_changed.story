# A service that does not answer before the change could be held against nothing: its host skips, and going back asks nobody.
fleet 3
plan waves 1,2 proven 50 skipped 1
host 1 mute
start
run 2h
show
rollback
run 2h
show
