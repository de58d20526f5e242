#!/bin/sh
# Says hello, and something about kilns where there is something to say.
read -r greeting < /app/GREETING
echo "$greeting from kiln"
[ -f /app/share/INDEX ] || exit 0
while read -r name; do
  [ "$name" = INDEX ] || cat "/app/share/$name"
done < /app/share/INDEX
