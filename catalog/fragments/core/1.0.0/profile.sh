# Read by login shells.
umask 027
