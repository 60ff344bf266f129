# one environment with draftproof itself: pip install 'draftproof[local,openvino]'
set -euo pipefail

if ! "$PYTHON" -c 'import openvino_genai; print("openvino-genai", openvino_genai.__version__)' >&2
then
  echo "$PYTHON has no openvino-genai; run: $PYTHON -m pip install 'draftproof[openvino]'" >&2
  exit 2
fi
export_model() { # NAME MODEL [OPTION…]
  [ -f "exported/$1/draftproof_export.json" ] && return
  rm -rf "exported/$1"
  "$PYTHON" -m draftproof export openvino "$2" "exported/$1" "${@:3}" >&2
}
for model in target draft adversarial; do
  export_model $model "lab:$model"
done
export_model eagle3 lab:eagle3 --heads-of lab:target
for model in weak-target weak-draft; do
  export_model $model $model
done
