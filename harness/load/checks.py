"""What of a load run can be found wrong before anything is started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from harness.errors import BadInputError
from harness.serving import Url
from launchers.errors import ConnectError
from launchers.launch import check_build
from launchers.redact import redact_text
from launchers.trust import Trust
from launchers.url import candidates
from loadprofiles.dialects import load_dialect
from loadprofiles.interleave import check_interleaved
from loadprofiles.prompts.fits import check_fits
from loadprofiles.prompts.recorded import check_dataset
from loadprofiles.prompts.texts import load_tokenizer
from loadprofiles.traffic.timetable import check_schedule

if TYPE_CHECKING:
    from harness.load.request import LoadRequest


def check(request: LoadRequest) -> None:
    """Look at all that was asked.

    Raises:
        BadInputError, BuildError, LoadProfilesError: with the fix.
    """
    _check_levels(request)
    if request.tokenizer is not None:
        load_tokenizer(request.tokenizer)
    check_dataset(request.profile)
    check_fits(request.profile, None, request.dialect)  # the files of its lengths are read
    if request.api_key_env is not None:
        check_key(request.api_key_env)
    _check_dialect(request)
    if isinstance(request.servers, Url):
        check_urls(request.servers)
        return
    names = [build.name for build, _ in request.servers]
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(
                f'--server: two builds are called "{name}"',
                hint="Their results could not be told apart: give one another name.",
            )
    for build, base_dir in request.servers:
        check_build(build, base_dir)
        check_fits(request.profile, build.max_model_len, request.dialect)
        for level in request.levels:
            check_schedule(
                request.profile, level, 1, request.seed, build.max_model_len, request.dialect
            )


def _check_levels(request: LoadRequest) -> None:
    if request.interleave:
        check_interleaved(request.profile, request.levels)
    for level in request.levels:
        request.profile.check_level(level)
        for repeat in range(1, request.repeats + 1):
            check_schedule(request.profile, level, repeat, request.seed)


def _check_dialect(request: LoadRequest) -> None:
    dialect = load_dialect(request.dialect)
    if request.force_ignore_eos and "ignore_eos" not in dialect.pins:
        raise BadInputError(
            f"--ignore-eos: no request in the dialect {request.dialect} can ask for that",
            hint="Leave it out: answers then end where the model ends them.",
        )
    if dialect.at_root and not isinstance(request.servers, Url):
        raise BadInputError(
            f"--dialect {request.dialect} goes with --url: the servers of --server speak OpenAI's "
            "API",
            hint="Leave it out, or take openai-chat.",
        )


def check_key(variable: str) -> None:
    """Look whether an environment variable holds a key that a header can carry.

    Raises:
        BadInputError: it does not, or is none.
    """
    if not variable.isidentifier():  # do not repeat it: it may be the key itself
        raise BadInputError(
            "--api-key-env: that is no environment variable's name",
            hint="Name the variable, not the key itself: export KEY=… and --api-key-env KEY",
        )
    key, variable = os.environ.get(variable), redact_text(variable)
    if not key:
        raise BadInputError(
            f"--api-key-env: the environment variable {variable} is not set",
            hint=f"Name the variable, not the key itself: export {variable}=…",
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise BadInputError(
            f"--api-key-env: {variable} holds a blank, a line break or another character that no "
            "header can carry"
        )


def check_urls(given: Url) -> None:
    """Look at what can be seen to be wrong with URLs before anything is asked of them.

    Raises:
        BadInputError: with the fix.
    """
    try:
        bases = [candidates(url)[0] for url in given.urls]
    except ConnectError as error:
        raise BadInputError(f"--url: {error}") from error
    for base in bases:
        if bases.count(base) > 1:
            raise BadInputError(
                f"--url: {base} is there twice",
                hint="Requests go round robin over the replicas of one deployment: name each once.",
            )
    schemes = {urlsplit(base).scheme for base in bases}
    if len(schemes) > 1:
        raise BadInputError(
            "--url: some are http and some are https",
            hint="The replicas of one deployment are asked alike: give all the same.",
        )
    if given.trust == Trust():
        return
    flag = "--ca-file" if given.trust.verify else "--insecure"
    if schemes == {"http"}:
        raise BadInputError(
            f"{flag}: {bases[0]} is plain http, which has no certificate to check",
            hint=f"Give an https:// URL, or leave {flag} out.",
        )
    if not given.trust.verify and given.trust.ca_file is not None:
        raise BadInputError(
            "--insecure checks no certificate, so --ca-file has nothing to do; leave one out"
        )
    try:
        given.trust.context()
    except ConnectError as error:
        raise BadInputError(f"--ca-file: {error}") from error
