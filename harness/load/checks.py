"""What of a load run can be found wrong before anything is started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from harness.errors import BadInputError
from harness.serving import Url, builds_in, name_of, names_in, urls_in
from launchers.engines import load_engine
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
from loadprofiles.traffic.crowd import check_descriptors
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
    if request.api_key_env is not None:
        check_key(request.api_key_env)
    names = names_in(request.servers)
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(
                f'--server: two builds are called "{name}"',
                hint="Their results could not be told apart: give one another name.",
            )
    for name in names or [""]:
        own = request.of(name)  # the files of the profile's lengths are read, too
        check_fits(own.profile, None, own.spoken(name))
        _check_dialect(own, name)
    _check_one_dialect(request)
    for at in urls_in(request.servers):
        check_urls(at)
        _check_together(request, at)
    for build, base_dir in builds_in(request.servers):
        check_build(build, base_dir)
        dialect = request.spoken(build.name)
        check_fits(request.profile, build.max_model_len, dialect)
        for level in request.levels:
            check_schedule(request.profile, level, 1, request.seed, build.max_model_len, dialect)


def _check_levels(request: LoadRequest) -> None:
    if request.interleave:
        check_interleaved(request.profile, request.levels)
    for level in request.levels:
        request.profile.check_level(level)
        for repeat in range(1, request.repeats + 1):
            check_schedule(request.profile, level, repeat, request.seed)
            check_descriptors(request.profile, level, repeat, request.seed, request.processes)


def _check_together(request: LoadRequest, at: Url) -> None:
    """Look whether a driver that asks all by turns can ask this one as it does the others."""
    first = request.servers[0]
    alike = Url(urls=at.urls, model=at.model, name=at.name, tokenizer=at.tokenizer)
    if request.interleave and (at != alike or any(url.startswith("https") for url in at.urls)):
        raise BadInputError(
            f"--interleave: {at.name} is asked with a key, certificate or dialect of its own, and "
            f"one connection's settings serve all of {name_of(first)} and the others",
            hint="Leave --interleave out.",
        )


def _check_dialect(request: LoadRequest, name: str) -> None:
    spoken = request.spoken(name)
    if request.force_ignore_eos and "ignore_eos" not in load_dialect(spoken).pins:
        raise BadInputError(
            f"--ignore-eos: no request in the dialect {spoken} can ask for that",
            hint="Leave it out: answers then end where the model ends them.",
        )
    for build, _ in builds_in(request.servers):
        known = load_engine(build.engine).dialects
        if build.name == name and spoken not in known:
            raise BadInputError(
                f"--dialect {spoken}: {name} is served by {build.engine}, which speaks "
                f"{', '.join(known)}",
                hint=f"Leave it out: each server is asked in its own, {name} in {known[0]}.",
            )


def _check_one_dialect(request: LoadRequest) -> None:
    told = {name: request.spoken(name) for name in names_in(request.servers)}
    if request.interleave and len({*told.values()}) > 1:
        asked = ", ".join(f"{name} in {dialect}" for name, dialect in told.items())
        raise BadInputError(
            f"--interleave: one driver asks all servers alike, and these are asked {asked}",
            hint="Name one that all speak, e.g. --dialect openai-completions, or leave "
            "--interleave out.",
        )


def check_key(variable: str, flag: str = "--api-key-env") -> None:
    """Look whether an environment variable holds a key that a header can carry.

    Raises:
        BadInputError: it does not, or is none.
    """
    if not variable.isidentifier():  # do not repeat it: it may be the key itself
        raise BadInputError(
            f"{flag}: that is no environment variable's name",
            hint="Name the variable, not the key itself: export KEY=… and --api-key-env KEY",
        )
    key, variable = os.environ.get(variable), redact_text(variable)
    if not key:
        raise BadInputError(
            f"{flag}: the environment variable {variable} is not set",
            hint=f"Name the variable, not the key itself: export {variable}=…",
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise BadInputError(
            f"{flag}: {variable} holds a blank, a line break or another character that no "
            "header can carry"
        )


def check_native(at: Url, command: str) -> None:
    """Look that a server is asked in OpenAI's API, by which suites are asked, too.

    Raises:
        BadInputError: it is not.
    """
    if at.dialect is not None and load_dialect(at.dialect).at_root:
        raise BadInputError(
            f"servers.{at.name}.dialect: {command} asks suites, too, by OpenAI's API, and "
            f"{at.dialect} is another",
            hint="Take openai-completions or openai-chat, which these engines speak as well; "
            "`harness load` measures it as it is.",
        )


def check_urls(given: Url) -> None:
    """Look at what can be seen to be wrong with URLs before anything is asked of them.

    Raises:
        BadInputError: with the fix.
    """
    try:
        bases = [candidates(url)[0] for url in given.urls]
    except ConnectError as error:
        raise BadInputError(f"{given.flag}: {error}") from error
    for base in bases:
        if bases.count(base) > 1:
            raise BadInputError(
                f"{given.flag}: {base} is there twice",
                hint="Requests go round robin over the replicas of one deployment: name each once.",
            )
    schemes = {urlsplit(base).scheme for base in bases}
    if len(schemes) > 1:
        raise BadInputError(
            f"{given.flag}: some are http and some are https",
            hint="The replicas of one deployment are asked alike: give all the same.",
        )
    if given.tokenizer is not None:
        load_tokenizer(given.tokenizer)
    if given.api_key_env is not None:
        check_key(given.api_key_env, f"servers.{given.name}.api_key_env")
    _check_trust(given, bases[0])


def _check_trust(given: Url, base: str) -> None:
    if given.trust == Trust():
        return
    ca_file = "--ca-file" if given.name == "url" else f"servers.{given.name}.ca_file"
    flag = ca_file if given.trust.verify else "--insecure"
    if base.startswith("http:"):
        raise BadInputError(
            f"{flag}: {base} is plain http, which has no certificate to check",
            hint=f"Give an https:// URL, or leave {flag} out.",
        )
    if not given.trust.verify and given.trust.ca_file is not None:
        raise BadInputError(
            "--insecure checks no certificate, so --ca-file has nothing to do; leave one out"
        )
    try:
        given.trust.context()
    except ConnectError as error:
        raise BadInputError(f"{ca_file}: {error}") from error
