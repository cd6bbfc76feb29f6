#!/usr/bin/env bash
# Debian packages that some tests use: DICOM validators and a browser. Without them those tests skip and say so.
set -euo pipefail
packages=(dicom3tools dcmtk chromium)
missing=()
for p in "${packages[@]}"; do dpkg -s "$p" >/dev/null 2>&1 || missing+=("$p"); done
[ ${#missing[@]} -eq 0 ] && exit 0
command -v apt-get >/dev/null || { echo "not a Debian system: install ${missing[*]} by hand"; exit 0; }
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}"
