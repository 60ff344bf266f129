"""Decode with a draft model, and check that the answer is the target's own.

Usage: python examples/decoder.py [TARGET DRAFT]        (needs draftproof[local])

TARGET and DRAFT are directories or Hugging Face names of causal language models with one tokenizer.
Without arguments the small models that ship with draftproof are used.
"""

import sys

from draftproof.decoding import SpeculativeDecoder


def main() -> int:
    """Answer one question plainly and with the draft."""
    target, draft = sys.argv[1:3] if len(sys.argv) == 3 else ("lab:target", "lab:draft")
    question = [{"role": "user", "content": "How do I mend a torn sail?"}]

    plain = SpeculativeDecoder.from_pretrained(target)
    expected = plain.generate(question, max_new_tokens=120)

    decoder = SpeculativeDecoder.from_pretrained(target, draft, gamma=4)
    answer = decoder.generate(question, max_new_tokens=120)

    print(answer.text)
    print(f"\nrounds: {answer.rounds}, tokens a round: {answer.tokens_per_round:.1f}")
    print(f"accepted: {answer.accepted} of {answer.drafted} drafted tokens")
    print(f"where each token came from: {answer.provenance}")
    # the exact rule at temperature 0: equal up to rounding, and bit for bit where the model runs
    # fused (docs/decoding.md says when)
    same = answer.tokens == expected.tokens
    print(f"same tokens as plain decoding: {same}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
