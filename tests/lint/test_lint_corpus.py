"""Twenty configurations in the shapes that people deploy, each with its right answer."""

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from draftproof.lint.lint import lint_path
from draftproof.records import DraftproofError

SYNTHETIC = (
    '{"method":"mtp","num_speculative_tokens":3,"rejection_sample_method":"synthetic",'
    '"synthetic_acceptance_length":2.4}'
)
MTP = '{"method":"mtp","num_speculative_tokens":2}'

CASES = {
    "pod-command-in-a-shell": (
        "deploy.yaml",
        f"""\
        apiVersion: apps/v1
        kind: Deployment
        spec:
          template:
            spec:
              containers:
                - name: server
                  image: registry.local/team/vllm:7
                  command: ["/bin/sh", "-c"]
                  args:
                    - |
                      set -e
                      exec vllm serve /models/t --speculative-config '{SYNTHETIC}'
        """,
        ["L0"],
    ),
    "pod-with-environment": (
        "trt.yaml",
        """\
        kind: Pod
        spec:
          containers:
            - image: nvcr.io/nvidia/tensorrt-llm/release:1.3
              command: ["trtllm-serve", "/models/t", "--backend", "pytorch"]
              env:
                - {name: TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS, value: "2"}
        """,
        ["L0"],
    ),
    "several-documents": (
        "all.yaml",
        f"""\
        kind: Service
        metadata: {{name: s}}
        ---
        kind: Pod
        spec:
          containers:
            - image: vllm/vllm-openai:v0.30.0
              args: ["--model", "t"]
        ---
        kind: Pod
        spec:
          containers:
            - image: vllm/vllm-openai:v0.30.0
              args: ["--model", "t", "--speculative-config", '{MTP}']
        """,
        [None, "L2"],
    ),
    "compose-anchors": (
        "compose.yml",
        """\
        x-base: &base
          image: lmsysorg/sglang:latest
          environment: {SGLANG_SIMULATE_ACC_LEN: "3"}
        services:
          a:
            <<: *base
            command: python3 -m sglang.launch_server --model-path t --speculative-algorithm EAGLE
        """,
        ["L0"],
    ),
    "compose-plain": (
        "compose.yaml",
        """\
        services:
          a:
            image: ghcr.io/ggml-org/llama.cpp:server
            command: -m /models/t.gguf --port 8080 -c 4096
        """,
        [None],
    ),
    "compose-variable": (
        "compose.yaml",
        """\
        services:
          a:
            image: vllm/vllm-openai:latest
            command: ["--model", "t", "--speculative-config", "${SPEC}"]
        """,
        ["unknown"],
    ),
    "helm-values": (
        "values.yaml",
        f"""\
        servingEngineSpec:
          modelSpec:
            - name: t
              vllmConfig:
                extraArgs: ["--speculative-config", '{SYNTHETIC}']
        """,
        ["L0"],
    ),
    "llama-swap": (
        "swap.yaml",
        """\
        models:
          "small":
            cmd: |
              /app/llama-server
              # the draft
              -m /m/t.gguf -md /m/d.gguf
              --spec-synth-len 2.5
          "plain":
            cmd: llama-server -m /m/t.gguf --port ${PORT:-9000}
        """,
        ["L0", None],
    ),
    "llama-cpp-comma-list": (
        "start.sh",
        "llama-server -m t.gguf --spec-type draft-mtp,ngram-mod --spec-draft-n-max 3\n",
        ["L2"],
    ),
    "llama-cpp-environment": (
        "start.sh",
        "export LLAMA_ARG_MODEL_DRAFT=d.gguf\nllama-server -m t.gguf\n",
        ["L2"],
    ),
    "presets": (
        "presets.ini",
        """\
        [*]
        jinja = true
        [with-draft]
        model = t.gguf
        model-draft = d.gguf
        [plain]
        model = t.gguf
        """,
        ["L2", None],
    ),
    "dockerfile": (
        "Dockerfile",
        """\
        FROM vllm/vllm-openai:v0.30.0
        ENV VLLM_EARS_TOLERANCE=0.2
        CMD ["--model", "t", "--speculative-config", \
        "{\\"method\\":\\"ngram\\",\\"num_speculative_tokens\\":3}"]
        """,
        ["L0"],
    ),
    "systemd": (
        "server.service",
        """\
        [Service]
        Environment="SGLANG_SIMULATE_ACC_LEN=2"
        ExecStart=/usr/bin/python3 -m sglang.launch_server --model-path t \\
          --speculative-algorithm NEXTN
        Restart=always
        """,
        ["L0"],
    ),
    "procfile": (
        "Procfile",
        f"web: vllm serve t --port 8000 --speculative-config '{MTP}'\nworker: python work.py\n",
        ["L2"],
    ),
    "here-document": (
        "start.sh",
        """\
        cat > extra.yaml <<EOF
        speculative_config:
          decoding_type: MTP
          use_relaxed_acceptance_for_thinking: true
        EOF
        trtllm-serve t --extra_llm_api_options extra.yaml
        """,
        ["L0"],
    ),
    "here-document-elsewhere": (
        "start.sh",
        "trtllm-serve t --extra_llm_api_options /etc/extra.yaml\n",
        ["unknown"],
    ),
    "conditional-arguments": (
        "start.sh",
        """\
        EXTRA=""
        if [ -n "$FAST" ]; then
          EXTRA="--speculative-config $SPEC"
        fi
        vllm serve t $EXTRA
        """,
        ["unknown"],
    ),
    "array-by-cases": (
        "start.sh",
        """\
        case "$1" in
          fast) FLAGS=(--spec-type draft-mtp) ;;
          *) FLAGS=() ;;
        esac
        exec ./llama-server -m "$MODEL" "${FLAGS[@]}"
        """,
        ["unknown"],
    ),
    "arguments-of-the-script": ("start.sh", 'exec vllm serve "$MODEL" "$@"\n', ["unknown"]),
    "on-another-machine": (
        "start.sh",
        "ssh gpu 'nohup vllm serve t --speculative-config.method suffix > log 2>&1 &'\n",
        ["L2"],
    ),
    "max": (
        "start.sh",
        (
            "max serve --model t --draft-model-path d --rejection-sampling-strategy "
            "typical-acceptance\n"
        ),
        ["L0"],
    ),
    "mtplx": ("start.sh", "mtplx serve t --mtp --typical-threshold 0.3\n", ["L0"]),
    "lmdeploy": (
        "start.sh",
        (
            "lmdeploy serve api_server t --speculative-algorithm eagle3 "
            "--speculative-draft-model d --speculative-num-draft-tokens 3\n"
        ),
        ["L2"],
    ),
    "text-generation-inference": (
        "run.sh",
        (
            "docker run --gpus all -p 8080:80 -v $PWD:/data "
            "ghcr.io/huggingface/text-generation-inference:3 --model-id t --speculate 3\n"
        ),
        ["L2"],
    ),
    "modelfile": ("Modelfile", "FROM t:8b\nDRAFT d:1b\nPARAMETER temperature 0\n", ["L2"]),
    "modelfile-template": (
        "Modelfile",
        'FROM t:8b\nTEMPLATE """\nDraft an answer.\n"""\n',
        [None],
    ),
    "fork-of-vllm": (
        "start.sh",
        (
            'vllm serve t --speculative-config \'{"method":"mtp","num_speculative_tokens":1,'
            '"relaxed_thinking":true}\'\n'
        ),
        ["L0"],
    ),
    "python": ("serve.py", "llm = LLM('t', speculative_config={'method': 'ngram'})\n", ["unknown"]),
    "catalogue": ("model.yaml", "model: t\nrevision: main\nengine: vllm\n", ["unknown"]),
    "sourced": ("start.sh", ". /etc/flags.sh\nvllm serve t\n", ["unknown"]),
    "installer": ("install.sh", "pip install vllm\nhuggingface-cli download t\n", ["unknown"]),
    "plain-script": (
        "start.sh",
        '#!/bin/sh\nset -e\nMODEL=t\nvllm serve "$MODEL" --port $PORT --dtype float32 # not spec\n',
        [None],
    ),
}


@pytest.mark.parametrize(("name", "text", "promises"), CASES.values(), ids=CASES)
def test_shapes_of_deployments(tmp_path, name, text, promises):
    (tmp_path / name).write_text(textwrap.dedent(text))
    assert [one.promise for one in lint_path(tmp_path / name)] == promises


FLAGS = [
    '--speculative-config \'{"method": "ngram"}\'',
    "--speculative-algorithm EAGLE",
    "--speculative-algo EAGLE",
    "--spec-type draft-mtp",
    "-md d.gguf",
    "--model-draft d.gguf",
    "-hfd owner/d",
    "--draft-max 8",
    "--num-speculative-tokens 3",
    "--speculate 4",
    "--speculative-draft-model d",
    "--draft-model d",
]
STARTS = [
    "vllm serve t",
    "python3 -m sglang.launch_server --model-path t",
    "llama-server -m t.gguf",
    "docker run vllm/vllm-openai --model t",
    "mlx_lm.server --model t",
    "echo",
    "my-launcher",
]
SHAPES = [
    ("a.sh", "{start} {flag}\n"),
    ("a.sh", "{start} \\\n  {flag} \\\n  --port 1\n"),
    ("a.sh", 'A=({start} {flag})\n"${{A[@]}}"\n'),
    ("a.sh", "if true; then\n  F='x'\nfi\n{start}\nother {flag}\n"),
    ("a.sh", "cat <<EOF\n{flag}\nEOF\n{start}\n"),
    ("a.yaml", "services:\n  a:\n    command: >-\n      {start} {flag}\n"),
    ("a.yaml", "run: |\n  {start} {flag}\nimage: x\n"),
    ("a.service", "[Service]\nExecStart={start} {flag}\n"),
    ("Procfile", "web: {start} {flag}\n"),
    ("Dockerfile", "FROM x\nCMD {start} {flag}\n"),
    ("unread.py", "run('{start}', '{flag}')\n"),
    ("plan.txt", "{noise}{start} {flag}{noise}\n"),
]


@settings(max_examples=150, deadline=None)
@given(
    flag=st.sampled_from(FLAGS),
    start=st.sampled_from(STARTS),
    shape=st.sampled_from(SHAPES),
    noise=st.text(alphabet="ab $'\"\\(){}[]<>|&;\n=-:", max_size=12),
)
def test_a_file_with_a_speculative_flag_is_never_plain(tmp_path_factory, flag, start, shape, noise):
    name, template = shape
    path = tmp_path_factory.mktemp("lint") / name
    path.write_text(template.format(flag=flag, start=start, noise=noise))
    try:
        judged = lint_path(path)
    except DraftproofError:
        return
    assert not all(one.promise is None for one in judged)


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(["a.sh", "a.yaml", "a.json", "Dockerfile", "a.service", "a.ini", "x.env"]),
    text=st.text(max_size=200)
    | st.lists(st.sampled_from([*FLAGS, *STARTS, "\n", " ", ": ", "- ", "&a", "*a", "{", "'"])).map(
        "".join
    ),
)
def test_no_text_breaks_the_reader(tmp_path_factory, name, text):
    path = tmp_path_factory.mktemp("lint") / name
    path.write_text(text, "utf-8", errors="replace")
    try:
        promises = {one.promise for one in lint_path(path)}
    except DraftproofError as error:
        message = str(error)
    else:
        message = str(path)
        assert promises <= {None, "L0", "L2", "unknown"}
    assert str(path) in message
