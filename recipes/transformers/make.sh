# transformers is in the extra 'local', which the python that runs draftproof has
set -euo pipefail

"$PYTHON" -c 'import transformers; print("transformers", transformers.__version__)' >&2
