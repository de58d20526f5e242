#!/bin/sh
# Says hello.
read -r greeting < /app/GREETING
echo "$greeting from kiln"
