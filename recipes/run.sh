#!/usr/bin/env bash
# Make a stack's environment and screen the lab pair on it.
#
#   recipes/run.sh STACK [PLAN] [OPTION…]
#
# STACK   transformers, openvino, llama.cpp or vllm
# PLAN    a file of recipes/STACK without its ending: float32 (the default), bfloat16 or weak
# OPTION  of `draftproof screen`: --limit 20 asks 20 prompts of every task, --jobs, --json, …
#
# PYTHON names a python with draftproof and the extras that docs/stacks.md lists; `python3` if unset.
# Everything lands under $DRAFTPROOF_STACKS (~/.cache/draftproof/stacks), nothing here, and a relative
# --out or --sign means that place's directory of the stack. A run that was interrupted goes on with the same command, at the answer where it stopped.
#
# Exits as the screen does: 0 PASS, 3 FAIL, 4 INVALID, 5 INCONCLUSIVE (as with a --limit under 99
# or so); 2 if something could not be done, 130 if interrupted.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; }
case ${1-} in
  -h | --help) usage; exit 0 ;;
  '' | -*) usage >&2; exit 2 ;;
esac
stack=$1
shift
plan=float32
case ${1-} in
  '' | -*) ;;
  *) plan=$1; shift ;;
esac
if [ -d "$here/$stack" ] && [ ! -f "$here/$stack/$plan.yaml" ]; then
  known=$(cd "$here/$stack" && ls -- *.yaml | sed 's/\.yaml$//' | tr '\n' ' ')
  echo "$stack has no plan $plan; it has: $known" >&2
  exit 2
fi
# told absolutely, because what follows changes its directory
asked=${PYTHON:-python3}
PYTHON=$(command -v "$asked") || { echo "there is no $asked; name a python as PYTHON" >&2; exit 2; }
[ "${PYTHON#/}" != "$PYTHON" ] || PYTHON=$PWD/$PYTHON
DRAFTPROOF_STACKS=$(realpath -m -- "${DRAFTPROOF_STACKS:-$HOME/.cache/draftproof/stacks}")
export PYTHON DRAFTPROOF_STACKS
bash "$here/make.sh" "$stack"
place=$DRAFTPROOF_STACKS/$stack
cd "$place"
echo "$stack, $plan: runs are kept in $place/runs" >&2
# what runs in this process needs the stack's own python
case $plan in
  inprocess-*) PYTHON=$place/bin/inprocess-python ;;
esac
# servers are started by name, and models are named relative to this directory
PATH=$PWD/bin:$PATH exec "$PYTHON" -m draftproof screen "$here/$stack/$plan.yaml" "$@"
