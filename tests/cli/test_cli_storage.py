"""Storage on the command line: options as text, and errors without a traceback."""

import pytest
from buckets import s3  # noqa: F401 - a fixture
from command_line import run

from shardkit.cli.storage_options import parse_storage_options
from shardkit.errors import UsageError

FAILED, USAGE = 1, 2


@pytest.mark.parametrize(
    ("pairs", "options"),
    [
        (None, {}),
        (["key=AB12", "anon=true", "ttl=30", "empty="], {"key": "AB12", "anon": True, "ttl": 30, "empty": ""}),
        (['token="30"', "list=[1, 2]"], {"token": "30", "list": [1, 2]}),
        (["secret=a=b.c"], {"secret": "a=b.c"}),
        (
            ["key=1e5", "secret=123456", "kwargs.account_key=12E4", "token=null", "size=1e5", "port=0123"],
            {
                "key": "1e5",
                "secret": "123456",
                "kwargs": {"account_key": "12E4"},
                "token": "null",
                "size": "1e5",
                "port": "0123",
            },
        ),
        (
            ["client_kwargs.endpoint_url=http://h:1/", "client_kwargs.region_name=x"],
            {"client_kwargs": {"endpoint_url": "http://h:1/", "region_name": "x"}},
        ),
    ],
)
def test_pairs_become_options(pairs, options):
    """Dots nest; truths, whole numbers and JSON are what they say, and a credential is never a number."""
    assert parse_storage_options(pairs) == options


@pytest.mark.parametrize("pairs", [["key"], ["=x"], ["a..b=1"], [".a=1"], ["a=1", "a.b=2"], ["a=[1]]"]])
def test_pairs_that_make_no_sense_are_refused(pairs):
    """The message shows which."""
    with pytest.raises(UsageError, match=f"--storage-option {pairs[-1].split('=')[0]}"):
        parse_storage_options(pairs)


def refused(said, *words):
    """It failed with a message of one line that says these words."""
    assert said.returncode in (FAILED, USAGE)
    assert said.stderr.startswith("error: ")
    assert "Traceback" not in said.stderr
    for word in words:
        assert word in said.stderr


def test_pack_to_a_bucket_by_parts(material, s3):  # noqa: F811
    """The whole job by command line: two parts, then --finish; each says what comes next."""
    bucket = s3.bucket("cli")
    for number in (1, 2):
        said = run(*material.arguments, "--out", "s3://cli/data", *s3.arguments, "--part", f"{number}/2")
        assert said.returncode == 0, said.stderr
        assert f"clips of part {number}/2 into s3://cli/data" in said.stdout
        assert "--finish" in said.stdout
    said = run(*material.arguments, "--out", "s3://cli/data", *s3.arguments, "--finish")
    assert said.returncode == 0, said.stderr
    assert "packed 5 of 10 clips into s3://cli/data" in said.stdout
    assert (bucket / "data/dataset.json").exists()
    assert not (bucket / "data/.packing").exists()


def test_wrong_bucket_key_and_network_are_named(material, s3):  # noqa: F811
    """Each with what to check, and no traceback."""
    bucket = ("--out", "s3://no-such-bucket/data")
    refused(
        run(*material.arguments, *bucket, *s3.arguments), "s3://no-such-bucket/data", "check the URL, bucket and folder"
    )
    wrong = ("--storage-option", "secret=SOMETHING")
    refused(run(*material.arguments, *bucket, *s3.arguments, *wrong), "check the keys in storage_options")
    nobody = ("--storage-option", "client_kwargs.endpoint_url=http://127.0.0.1:1")
    once = ("--storage-option", 'config_kwargs.retries={"max_attempts": 0}')
    refused(
        run(*material.arguments, *bucket, *s3.arguments, *nobody, *once),
        "s3://no-such-bucket/data",
        "check the network",
    )


@pytest.mark.parametrize(("out", "words"), [("gs://b/x", "pip install gcsfs"), ("s4://b/x", "check the URL")])
def test_storage_that_this_machine_does_not_know_is_named(material, out, words):
    """A package that is missing, a protocol that does not exist."""
    refused(run(*material.arguments, "--out", out), out, words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--part", "5/4"), "1/4"),
        (("--part", "x"), "3/16"),
        (("--part", "1/2", "--finish"), "give one of them"),
        (("--part", "1/2", "--overwrite"), "overwrite"),
        (("--ray-address", "auto"), "engine"),
    ],
)
def test_options_of_clusters_that_do_not_fit_are_refused(material, tmp_path, options, words):
    """Exit code 2, and no folder."""
    said = run(*material.arguments, "--out", tmp_path / "out", *options)
    assert said.returncode == USAGE
    refused(said, words)
    assert not (tmp_path / "out").exists()
