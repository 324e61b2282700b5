from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvrig.boot.uboot import (
    BAD_WORDS,
    RESET,
    Echo,
    as_text,
    ask_status,
    crc_of,
    end_of,
    judge_echo,
    load_trouble,
    looks_like_wrong_baud,
    marked,
    pieces,
    prompt_pattern,
    stands_last,
    transferred,
)

typed = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=16).map(str.encode)


@given(typed, st.data())
def test_an_echo_grows_until_it_is_whole(line: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(line)))
    assert judge_echo(line, line[:cut]) is (Echo.WHOLE if cut == len(line) else Echo.PARTIAL)
    ignored = data.draw(st.sampled_from([b"\0", b"\r\n", b"\x1b[6n", b"\x1b[1;31m"]))
    assert judge_echo(line, line[:cut] + ignored + line[cut:]) is Echo.WHOLE


@given(typed, st.binary(min_size=1, max_size=3), st.data())
def test_an_echo_with_anything_else_in_it_is_never_whole(line: bytes, noise: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(line)))
    received = line[:cut] + noise + line[cut:]
    stripped = re.sub(rb"[\x00\r\n]", b"", received)
    if stripped != line and b"\x1b" not in noise:
        assert judge_echo(line, received) is not Echo.WHOLE


@pytest.mark.parametrize(
    ("received", "verdict"),
    [
        (b"setenv i", Echo.WHOLE),
        (b"sten", Echo.WRONG),  # one lost
        (b"set\xe5nv i", Echo.WRONG),
        (b"setenv ii", Echo.WRONG),
        (b"\r\n=> s", Echo.WRONG),  # a prompt: U-Boot has started again
        (b"set\x07\x07", Echo.LINE_FULL),
        (b"setenv i\x1b", Echo.WHOLE),
    ],
)
def test_judge_echo(received: bytes, verdict: Echo) -> None:
    assert judge_echo(b"setenv i", received) is verdict


@given(typed, st.integers(1, 16))
def test_pieces_make_the_line(line: bytes, size: int) -> None:
    made = pieces(line.decode(), size)
    assert b"".join(made) == line
    assert max(map(len, made)) <= size


@given(typed)
def test_the_echo_of_a_marked_line_is_not_its_end(command: bytes) -> None:
    line = marked(command.decode(), "7").encode()
    assert end_of("7").search(line + b"\r\n") is None
    assert end_of("7").search(ask_status("7").encode() + b"\r\n") is None


def test_the_end_needs_its_own_token_and_a_whole_status() -> None:
    assert end_of("7").search(b"x\r\nhvrig-end 7 127\r\n=> ") is not None
    assert end_of("7").search(b"x\r\nhvrig-end 77 0\r\n") is None
    assert end_of("7").search(b"x\r\nhvrig-end 7 12") is None


def test_a_prompt_stands_at_the_beginning_of_a_line() -> None:
    prompt = prompt_pattern("=> ")
    assert stands_last(prompt, b"\x08\x08\x08 0 \r\n=> ")
    assert not stands_last(prompt, b"a => ")
    assert not stands_last(prompt, b"\r\n=> echo")


# As printed by U-Boot 2023.01 on QEMU, and by fatload.
TFTP = "Load address: 0x44000000\nLoading: *\x08####\n\t 23.2 MiB/s\ndone\nBytes transferred = 27303872 (1a09fc0 hex)"
CRC = "crc32 for 40000000 ... 4000000f ==> 8aca09bc"


def test_sizes_and_checksums() -> None:
    assert transferred(TFTP) == 27303872
    assert transferred("27303872 bytes read in 1170 ms (22.3 MiB/s)") == 27303872
    assert transferred("Bytes trans\ufffderred = 27") is None
    assert crc_of(CRC, 0x40000000, 16) == 0x8ACA09BC
    assert crc_of(CRC, 0x40000000, 17) is None
    assert crc_of(CRC.replace("8aca", "8ac"), 0x40000000, 16) is None


@pytest.mark.parametrize(
    ("output", "word"),
    [
        ("Loading: *\x08\nTFTP error: 'File not found' (1)\nNot retrying...", "not there"),
        ("** Unable to read file Image **", "not there"),
        ("TFTP error: 'Access violation' (2)", "may not be read"),
        ("*** ERROR: `serverip' not set", "no network address"),
        ("No ethernet found.", "no Ethernet"),
        ("Waiting for PHY auto negotiation to complete......... TIMEOUT !", "link is down"),
        ("ARP Retry count exceeded; starting again", "nobody answers"),
        ("Loading: *\x08T T T T \nRetry count exceeded; starting again", "does not answer"),
        ("TFTP from server 10.0.2.77\nLoading: *\x08", "does not answer"),
        ("** Bad device specification mmc 0 **", "no card"),
    ],
)
def test_load_trouble_is_named(output: str, word: str) -> None:
    trouble = load_trouble(output)
    assert trouble is not None
    assert word in trouble.meaning
    assert load_trouble(TFTP) is None


def test_a_start_is_told_from_the_version_command() -> None:
    assert RESET.search(b"\r\n\r\nU-Boot 2023.01+dfsg-2 (Jun 22 2026)\r\n")
    assert RESET.search(b"\r\nU-Boot SPL 2017.09-g5f53abfa1e-221223 #zzz")
    assert RESET.search(b"\xff\r\nDDR V1.12 52218f4949 cym 23/07/06-19:46:50")
    assert not RESET.search(b'=> version; echo "hvrig-""end"\r\nU-Boot 2023.01+dfsg-2 (Jun 22 2026)\r\n\r\ngcc')


def test_bad_words_are_none_of_a_good_boot() -> None:
    good = (
        b"## Booting kernel from Legacy Image at 4c000000 ...\r\n   Verifying Checksum ... OK\r\n"
        b"Working FDT set to ffefc000\r\n\r\nStarting kernel ...\r\n"
    )
    assert not any(word.pattern.search(good + TFTP.encode()) for word in BAD_WORDS)


def test_noise_of_a_wrong_baud_rate() -> None:
    assert looks_like_wrong_baud(bytes([0x00, 0xF8, 0x80, 0x1E] * 10))
    assert not looks_like_wrong_baud(b"U-Boot SPL board init\r\nunknown raw ID 0 0 0\r\n")
    assert not looks_like_wrong_baud(b"\xff\xff")


@given(st.binary(max_size=300))
def test_no_noise_is_more_than_parsers_take(noise: bytes) -> None:
    text = as_text(noise)
    transferred(text)
    crc_of(text, 0, 1)
    load_trouble(text)
    judge_echo(b"tftp", noise)
