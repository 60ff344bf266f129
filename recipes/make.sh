#!/usr/bin/env bash
# Make the environment of one stack: recipes/make.sh STACK. Everything lands in
# ${DRAFTPROOF_STACKS:-~/.cache/draftproof/stacks}/STACK, nothing here. Run again, it goes on.
# Exits with 0, with 2 if something is missing, with 130 if interrupted.
set -euo pipefail
trap 'echo "interrupted; the same command goes on" >&2; exit 130' INT

here=$(cd "$(dirname "$0")" && pwd)
stack=${1-}
recipe=$here/$stack
if [ -z "$stack" ] || [ ! -f "$recipe/make.sh" ]; then
  known=$(cd "$here" && ls -- */make.sh | sed 's|/make.sh$||' | tr '\n' ' ')
  echo "${stack:+there is no stack $stack; }name one of: $known" >&2
  exit 2
fi
place=$(realpath -m -- "${DRAFTPROOF_STACKS:-$HOME/.cache/draftproof/stacks}")/$stack
# a python that has draftproof[local]: models are taken from it
asked=${PYTHON:-python3}
PYTHON=$(command -v "$asked") || { echo "there is no $asked; name a python as PYTHON" >&2; exit 2; }
[ "${PYTHON#/}" != "$PYTHON" ] || PYTHON=$PWD/$PYTHON
if ! reason=$("$PYTHON" -c 'import draftproof.stacks.models' 2>&1); then
  echo "$PYTHON cannot import draftproof[local] (${reason##*$'\n'}); name one that can as PYTHON" >&2
  exit 2
fi
mkdir -p "$place/bin"
# what is made is made under another name first, so that it goes on where it was interrupted
export PYTHON recipe
cd "$place"
for model in target draft adversarial; do
  [ -d $model ] && continue
  rm -rf $model.part
  cp -r \
    "$("$PYTHON" -c "from draftproof.lab.models import model_path; print(model_path('$model'))")" \
    $model.part
  mv $model.part $model
done
for model in target draft; do
  [ -d weak-$model ] && continue
  rm -rf weak-$model.part
  "$PYTHON" "$here/weaken.py" $model weak-$model.part >&2
  mv weak-$model.part weak-$model
done
bash "$recipe/make.sh"
touch ready
echo "$stack: made in $place" >&2
