#!/bin/sh
# Installs what rtai is built from, when run as root on Debian; says what is missing otherwise.
set -eu

packages="g++ cmake ninja-build pkg-config protobuf-compiler libprotobuf-dev libonnx-dev
libboost1.81-dev libcli11-dev libfmt-dev nlohmann-json3-dev libeigen3-dev libexpected-dev catch2 python3"

missing=""
for package in $packages "$@"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "rtai needs these Debian packages:" >&2
  echo "  sudo apt-get install$missing" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# Lists may be absent on a fresh machine or out of date on an old one.
apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 ||
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null; }
