"""One verdict document and its renderings for people and machines."""

from draftproof.report.audit import print_audit, write_audit
from draftproof.report.document import from_json, json_schema, to_json
from draftproof.report.escape import printable
from draftproof.report.files import write_all
from draftproof.report.html import to_html
from draftproof.report.junit import to_junit
from draftproof.report.markdown import to_markdown
from draftproof.report.terminal import print_verdict

__all__ = [
    "from_json",
    "json_schema",
    "print_audit",
    "print_verdict",
    "printable",
    "to_html",
    "to_json",
    "to_junit",
    "to_markdown",
    "write_all",
    "write_audit",
]
