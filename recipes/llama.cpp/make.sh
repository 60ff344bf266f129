# llama-server from the source distribution of llama-cpp-python, which carries all of llama.cpp.
# Needs a C++ compiler and cmake. Compiling takes about 12 minutes of one core; JOBS says how many
# are used (all of them if unset).
set -euo pipefail
version=0.3.36
sources=llama_cpp_python-$version
source=$sources/vendor/llama.cpp

for tool in cmake c++; do
  command -v $tool >/dev/null && continue
  echo "llama.cpp is compiled, which needs $tool; install it and run this again" >&2
  exit 2
done
[ -x venv/bin/pip ] || "$PYTHON" -m venv venv
if [ ! -d $source ]; then
  venv/bin/pip download --quiet --no-deps --no-binary llama-cpp-python "llama-cpp-python==$version" >&2
  rm -rf unpacked $sources
  mkdir unpacked
  tar xzf $sources.tar.gz -C unpacked
  mv unpacked/$sources $sources
  rmdir unpacked
fi
if [ ! -x bin/llama-server ]; then
  echo "compiling llama-server" >&2
  cmake -S $source -B build -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
    -DLLAMA_BUILD_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DGGML_OPENMP=OFF >&2
  cmake --build build --target llama-server -j "${JOBS:-$(getconf _NPROCESSORS_ONLN)}" >&2
  ln -sf "$PWD/build/bin/llama-server" bin/llama-server
fi
venv/bin/python -c 'import torch, transformers, sentencepiece' 2>/dev/null ||
  venv/bin/pip install --quiet -c "$recipe/../../constraints.txt" torch transformers sentencepiece >&2
convert() { # MODEL KIND
  [ -f "$1-$2.gguf" ] && return
  venv/bin/python "$recipe/convert.py" $source "$1" "part-$1-$2.gguf" "$2" >convert.log 2>&1 || {
    cat convert.log >&2
    exit 2
  }
  mv "part-$1-$2.gguf" "$1-$2.gguf"
  echo "$1-$2.gguf" >&2
}
for kind in f32 bf16 q8_0; do
  for model in target draft adversarial; do
    convert $model $kind
  done
done
for model in weak-target weak-draft; do
  convert $model bf16
done
