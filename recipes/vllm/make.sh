# vLLM's CPU build, in an environment of its own: its pins of torch and transformers exclude ours.
set -euo pipefail

[ -x venv/bin/pip ] || "$PYTHON" -m venv --clear venv
[ -x venv/bin/uv ] || venv/bin/pip install --quiet uv
install() {
  # pip is told by its own settings where wheels are, uv by another name
  UV_FIND_LINKS=${PIP_FIND_LINKS:-} venv/bin/uv pip install --quiet --python venv/bin/python \
    --overrides "$recipe/overrides.txt" "$@"
}
venv/bin/python -c 'import vllm' 2>/dev/null || install -r "$recipe/requirements.txt"
# suffix decoding; compiled here, and not worth a failure where there is no compiler
venv/bin/python -c 'import arctic_inference' 2>/dev/null || install arctic-inference==0.1.1 ||
  echo "arctic-inference cannot be built: the method suffix will say so" >&2
# this checkout, so that `engine: vllm` runs in vLLM's own environment and judges there
venv/bin/python -c 'import draftproof.cli, safetensors' 2>/dev/null ||
  install --editable "$recipe/../..[local,http]"
for head in eagle3 medusa; do
  [ -d $head ] && continue
  rm -rf $head.part
  "$PYTHON" "$recipe/convert_head.py" lab:$head target $head.part
  mv $head.part $head
done
settings="VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=0 HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1"
# the `vllm` command looks for a distribution of that name, which the CPU build is not
cat >bin/vllm-serve <<EOF
#!/bin/sh
export $settings
exec "$PWD/venv/bin/python" -m vllm.entrypoints.openai.api_server "\$@"
EOF
# a python that plans called inprocess-* are run with; it judges too, so no core is given away
cat >bin/inprocess-python <<EOF
#!/bin/sh
export $settings
export VLLM_CPU_OMP_THREADS_BIND=nobind
exec "$PWD/venv/bin/python" "\$@"
EOF
chmod +x bin/vllm-serve bin/inprocess-python
