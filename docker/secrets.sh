#!/bin/sh
# Makes those secrets of compose.yaml that are missing, and leaves the others alone.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p .secrets
token() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
keep() { test -s ".secrets/$1" || printf '%s' "$2" > ".secrets/$1"; }
for name in mlflow mlflow_flask postgres s3_secret s3_signing; do keep "$name" "$(token)"; done
keep s3_key "luthier$(token | cut -c 1-16)"
keep prefect "luthier:$(token)"
touch .secrets/notify_url
# A container sees a file with the owner and the mode that it has here, and its users are not you.
# So the files are open, and the folder keeps everybody else out.
chmod 0644 .secrets/*
chmod 0700 .secrets
echo "docker/.secrets is complete"
