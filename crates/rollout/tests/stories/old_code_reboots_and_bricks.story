# Old code that stays mapped; a kernel that needs a boot; a machine that does not come back.
fleet 4
plan waves 1,3 bad 2
host 0 reboots
host 1 keeps-stale
host 2 bricks
start
run 3h
show
# A person has looked at host 2 and gives its place free. It is lost all the same.
free 2
show
