"""The commands; each one turns its options into a call of the front door and prints what came of it."""

import json
from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from shardkit import __version__
from shardkit.cli.pairs import ALSO_NEEDED, COLUMN_NEEDED, FEATURES_NEEDED, pairs, split_files
from shardkit.errors import UsageError
from shardkit.sizes import parse_size

app = typer.Typer(
    name="shardkit",
    help="Audio-visual clips packed once into WebDataset tar shards, then streamed into PyTorch training.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


# What the functions take that these options are for. Told again here, which a test compares: typer reads them at run
# time, and from where they are defined they would bring NumPy or torch into `shardkit --help`.
Format = Literal["auto", "ave", "avo65", "avvp", "chapters", "table"]
Names = Literal["inferred"]
Fit = Literal["short", "square"]
VideoCodec = Literal["mjpeg", "h264", "raw"]
AudioCodec = Literal["pcm", "flac"]
Chroma = Literal["420", "444"]
Require = Literal["av", "audio", "video", "any"]
PackRequire = Literal["av", "audio", "video", "any", "features"]
FrameChoice = Literal["uniform", "random", "contiguous"]
Crop = Literal["center", "random", "none"]
Decoder = Literal["auto", "decord"]
WorkerType = Literal["process", "thread"]
Modality = Literal["audio", "video"]
Locality = Literal["node"]
FrontEnd = Literal["ast", "psla", "passt", "mbt", "vggish"]
Engine = Literal["local", "ray"]

# Paths stay text: a Path would make `https:/host` of `https://host`, and the message would not show what was typed.
FormatOption = Annotated[Format, typer.Option(help="Format of the annotation file; auto recognises it by its header.")]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(metavar="OURS=THEIRS", help="For tables: a column's name, such as id=ytid."),
]
NamesOption = Annotated[
    Names | None,
    typer.Option(help="For avo65: name the classes of levels 2 and 3, which were released as numbers."),
]
AlsoOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ROLE=FILE",
        help="A further file: for avvp train, val, test, audio, visual; for chapters actions, materials.",
    ),
]
DurationOption = Annotated[
    float | None, typer.Option(help="For chapters of one source: its length in seconds, where the last chapter ends.")
]
SplitFileOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SCHEME:SPLIT=FILE",
        help="A named split, such as ave:train=train_order.h5: row numbers in .h5, or text with an id, a key or a row "
        "of AVE's a line.",
    ),
]
SplitOption = Annotated[
    str | None,
    typer.Option(
        help="Shares of train/val/test, such as 80/10/10, or train=90,test=10. Default: --split-file's, or the file's."
    ),
]
SplitGroupOption = Annotated[
    str, typer.Option(help="Clips that agree in it stay in one split: id (the source), media, or a column.")
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        metavar="CONDITION",
        help="Only clips for which this holds of the index, such as 'level_1 == 3' or '\"silent\" not in flags'.",
    ),
]
StratifyOption = Annotated[
    str | None, typer.Option(help="Level or label set whose classes are spread evenly over the splits.")
]
StorageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-option",
        metavar="KEY=VALUE",
        help="For URLs: what fsspec's file system takes, such as client_kwargs.endpoint_url=http://host:9000; "
        "true, false, whole numbers and JSON's objects, lists and strings are what they are in JSON.",
    ),
]
AudioRateOption = Annotated[str, typer.Option(help="Sample rate in Hz, or native to keep each source's.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"shardkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Audio-visual clips packed once into WebDataset tar shards, then streamed into PyTorch training."""


@app.command()
def pack(
    annotations: Annotated[str, typer.Argument(help="Annotation file: of AVO-65, AVE, AVVP or FGAVE, or a table.")],
    out: Annotated[str, typer.Option(help="Folder to write the data set into, or its URL.")],
    media: Annotated[
        str | None,
        typer.Option(help="Folder of the media files, or its URL; never written to. [default: none, features only]"),
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE.h5:DATASET",
            help="Arrays made of the clips before: from an HDF5 file, one for each row of the annotation file, or from "
            "a folder of .npy files (NAME=FOLDER).",
        ),
    ] = None,
    format: FormatOption = "auto",
    column: ColumnOption = None,
    names: NamesOption = None,
    also: AlsoOption = None,
    duration: DurationOption = None,
    split_file: SplitFileOption = None,
    already_cut: Annotated[
        bool, typer.Option("--already-cut", help="Media files are cut to their clips, also those called ID.mp4.")
    ] = False,
    background: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Folder of media without events, or its URL: each a training clip."),
    ] = None,
    name: Annotated[str, typer.Option(help="Shards are called NAME-000000.tar, ….")] = "clips",
    frames: Annotated[int | None, typer.Option(help="Frames a clip: centres of equal parts. [default: 16]")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second, instead of --frames.")] = None,
    frames_per_segment: Annotated[
        int | None, typer.Option(help="Frames in every segment, instead of --frames.")
    ] = None,
    segment: Annotated[float, typer.Option(help="Seconds of a segment.")] = 1.0,
    size: Annotated[int, typer.Option(help="Short side of the stored frames, in pixels.")] = 256,
    fit: Annotated[Fit, typer.Option(help="short keeps the aspect, square the centre square.")] = "short",
    video_codec: Annotated[
        VideoCodec,
        typer.Option(help="mjpeg; h264: half the bytes, slower; raw: nothing to decode, 18 times the bytes."),
    ] = "mjpeg",
    quality: Annotated[int | None, typer.Option(help="Of mjpeg: JPEG quality, 1 to 100. [default: 90]")] = None,
    chroma: Annotated[
        Chroma | None, typer.Option(help="Of mjpeg: colour at half (420) or full (444) resolution. [default: 420]")
    ] = None,
    crf: Annotated[
        int | None, typer.Option(help="Of h264: x264's constant rate factor, 1 (best) to 51. [default: 13]")
    ] = None,
    audio_codec: Annotated[
        AudioCodec, typer.Option(help="pcm, or flac: the same samples in about half the bytes.")
    ] = "pcm",
    audio_rate: AudioRateOption = "16000",
    audio_channels: Annotated[int, typer.Option(help="1 mixes to mono, 2 to stereo.")] = 1,
    require: Annotated[
        PackRequire | None, typer.Option(help="What a clip must have. [default: av; features without --media]")
    ] = None,
    split: SplitOption = None,
    split_group: SplitGroupOption = "id",
    stratify: StratifyOption = None,
    shard_size: Annotated[str, typer.Option(help="Size that shards are planned for.")] = "512MB",
    seed: Annotated[int, typer.Option(help="Of the shuffle over shards and of the splits.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Worker processes. [default: usable cores]")] = None,
    clip_timeout: Annotated[float, typer.Option(help="Seconds after which a clip is rejected.")] = 60.0,
    max_rejects: Annotated[
        float, typer.Option(help="Share of rows that may be rejected; above it the exit code is 3.")
    ] = 1.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the data set in OUT.")] = False,
    part: Annotated[
        str | None, typer.Option(metavar="K/N", help="Pack the K-th of N parts of the shards, and no manifest.")
    ] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="Pack nothing: check that all parts are there and write the manifest.")
    ] = False,
    engine: Annotated[Engine, typer.Option(help="ray: each shard is a task of a Ray cluster.")] = "local",
    ray_address: Annotated[str | None, typer.Option(help="Of the cluster. [default: as ray.init finds it]")] = None,
    storage_option: StorageOption = None,
    json_: JsonOption = False,
) -> None:
    """Pack annotated clips into tar shards.

    What cannot be packed goes to OUT/rejects.jsonl with a reason; inputs are never written to.

    \b
    Examples:
      shardkit pack AVO-65.csv --media videos --out shards
      shardkit pack clips.tsv --column id=ytid --media videos --out shards --frames-per-segment 4 --split 80/10/10
      shardkit pack AVO-65.csv --media videos --out shards --part 3/16 --resume
      shardkit pack Annotations.txt --media AVE --out shards --split-file ave:train=train_order.h5 --background others
      shardkit pack Annotations.txt --features vggish=audio_feature.h5:avadataset --out shards
      shardkit pack AVVP_test_pd.csv --also audio=AVVP_eval_audio.csv --media LLP --already-cut --out shards
      shardkit pack chapters.tsv --also actions=actions.txt --also materials=materials.txt --media videos --out shards
    """  # noqa: D301 - \b keeps the examples' lines
    import shardkit
    from shardkit.cli.show import PackDisplay, show_pack_report
    from shardkit.cli.storage_options import parse_storage_options
    from shardkit.cli.termination import GOES_ON, ended_by_sigterm

    with ended_by_sigterm(GOES_ON), PackDisplay(quiet=json_) as display:
        report = shardkit.pack(
            annotations,
            media=media,
            out=out,
            features=pairs("--features", features, FEATURES_NEEDED),
            format=format,
            column=pairs("--column", column, COLUMN_NEEDED),
            names=names,
            also=pairs("--also", also, ALSO_NEEDED),
            duration_s=duration,
            split_files=split_files(split_file),
            already_cut=already_cut,
            background=background,
            name=name,
            frames=frames,
            fps=fps,
            frames_per_segment=frames_per_segment,
            segment_s=segment,
            size=size,
            fit=fit,
            video_codec=video_codec,
            quality=quality,
            chroma=chroma,
            crf=crf,
            audio_codec=audio_codec,
            audio_rate=_audio_rate(audio_rate),
            audio_channels=audio_channels,
            require=require,
            split=split,
            split_group=split_group,
            stratify=stratify,
            shard_bytes=parse_size(shard_size),
            seed=seed,
            workers=workers,
            clip_timeout_s=clip_timeout,
            max_rejects=max_rejects,
            resume=resume,
            overwrite=overwrite,
            part=part,
            finish=finish,
            engine=engine,
            ray_address=ray_address,
            storage_options=parse_storage_options(storage_option),
            progress=display.update,
        )
    if json_:
        _print_json(report.to_json())
    else:
        show_pack_report(report)


@app.command()
def index(
    shards: Annotated[
        list[str],
        typer.Argument(help="A folder of tars, tars, or a pattern such as 'data-{000000..000012}.tar'; URLs too."),
    ],
    out: Annotated[
        str | None, typer.Option(help="Folder to write the index into, or a URL. [default: where the tars lie]")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Frames a clip: centres of equal parts. [default: 16]")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second, instead of --frames.")] = None,
    frames_per_segment: Annotated[
        int | None, typer.Option(help="Frames in every segment, instead of --frames.")
    ] = None,
    segment: Annotated[float, typer.Option(help="Seconds of a segment.")] = 1.0,
    size: Annotated[int | None, typer.Option(help="Short side of decoded frames, in pixels. [default: 256]")] = None,
    fit: Annotated[
        Fit | None, typer.Option(help="short keeps the aspect, square the centre square. [default: short]")
    ] = None,
    image_fps: Annotated[
        float | None, typer.Option(help="Of pictures: how many a second. [default: spread over the sound, or 1]")
    ] = None,
    audio_rate: AudioRateOption = "16000",
    audio_channels: Annotated[int, typer.Option(help="1 mixes to mono, 2 to stereo.")] = 1,
    require: Annotated[Require, typer.Option(help="What a clip must have.")] = "av",
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=json.FIELD", help="A label set out of json members, such as instrument=json.label."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="File with the names of cls members' classes, one a line.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes. [default: usable cores]")] = None,
    clip_timeout: Annotated[float, typer.Option(help="Seconds after which a sample is rejected.")] = 60.0,
    max_rejects: Annotated[
        float, typer.Option(help="Share of samples that may be rejected; above it the exit code is 3.")
    ] = 1.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the index in OUT; never a tar.")] = False,
    storage_option: StorageOption = None,
    json_: JsonOption = False,
) -> None:
    """Make a data set of WebDataset tars that others wrote: an index beside them, or elsewhere.

    Samples hold a video (mp4, webm, mkv, …) or pictures (jpg), sound (wav, flac, mp3, …, or the video's), and json,
    txt, cls. What cannot be decoded goes to OUT/rejects.jsonl with a reason; tars are never written to.

    \b
    Examples:
      shardkit index 'data-{000000..000012}.tar' --label instrument=json.label
      shardkit index tars --out index --frames-per-segment 4 --require video
      shardkit index s3://bucket/tars --out index
    """  # noqa: D301
    import shardkit
    from shardkit.cli.show_index import IndexDisplay, show_index_report
    from shardkit.cli.storage_options import parse_storage_options
    from shardkit.cli.termination import GOES_ON, ended_by_sigterm

    with ended_by_sigterm(GOES_ON), IndexDisplay(quiet=json_) as display:
        report = shardkit.index(
            shards,
            out=out,
            frames=frames,
            fps=fps,
            frames_per_segment=frames_per_segment,
            segment_s=segment,
            size=size,
            fit=fit,
            image_fps=image_fps,
            audio_rate=_audio_rate(audio_rate),
            audio_channels=audio_channels,
            require=require,
            label=pairs("--label", label, "NAME=json.FIELD is needed, such as instrument=json.label"),
            classes=classes,
            workers=workers,
            clip_timeout_s=clip_timeout,
            max_rejects=max_rejects,
            resume=resume,
            overwrite=overwrite,
            storage_options=parse_storage_options(storage_option),
            progress=display.update,
        )
    if json_:
        _print_json(report.to_json())
    else:
        show_index_report(report)


@app.command()
def info(
    path: Annotated[str, typer.Argument(help="A data set: a folder, a URL, or a pattern of tars.")],
    where: WhereOption = None,
    tree: Annotated[bool, typer.Option("--tree", help="Show hierarchies of classes as trees.")] = False,
    class_labels: Annotated[
        str | None,
        typer.Option(metavar="FILE.csv", help="Write a level's classes as AudioSet's class_labels_indices.csv."),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            help="Of --class-labels: a level or a label set. [default: the deepest level of the only label set]"
        ),
    ] = None,
    storage_option: StorageOption = None,
    json_: JsonOption = False,
) -> None:
    """Show what is in a data set: clips, hours, splits, classes, flags, rejects, settings.

    \b
    Examples:
      shardkit info shards --tree
      shardkit info shards --where "level_1 == 3"
      shardkit info shards --class-labels class_labels_indices.csv --level level_4
    """  # noqa: D301
    import shardkit
    from shardkit.cli.class_labels import write_class_labels
    from shardkit.cli.show import show_info
    from shardkit.cli.storage_options import parse_storage_options
    from shardkit.report.class_tree import class_tree
    from shardkit.report.info import dataset_info

    dataset = shardkit.open(path, storage_options=parse_storage_options(storage_option)).select(where=where)
    if class_labels is not None:
        write_class_labels(class_labels, dataset.label_sets, level)
        typer.echo(f"classes written to {class_labels}", err=True)
    elif level is not None:
        raise UsageError(f"--level {level} says which classes --class-labels writes: give both, or neither")
    numbers = dataset_info(str(dataset.folder), dataset.manifest, dataset.index, dataset.rows)
    if json_:
        _print_json(numbers.to_json())
    else:
        hierarchies = [label_set for label_set in dataset.label_sets if tree and label_set.kind == "hierarchy"]
        show_info(numbers, {one.name: class_tree(one, dataset.index, dataset.rows) for one in hierarchies})


@app.command()
def lint(
    path: Annotated[str, typer.Argument(help="An annotation file, or a data set; URLs too.")],
    format: FormatOption = "auto",
    column: ColumnOption = None,
    names: NamesOption = None,
    also: AlsoOption = None,
    duration: DurationOption = None,
    split_file: SplitFileOption = None,
    storage_option: StorageOption = None,
    json_: JsonOption = False,
) -> None:
    """Look for what is doubtful: rejects, leaks between splits, classes missing from a split, odd clips.

    Findings name rows of the annotation file. The exit code is 1 where there are any.

    \b
    Examples:
      shardkit lint AVO-65.csv
      shardkit lint Annotations.txt --split-file ave:train=train_order.h5 --split-file ave:test=test_order.h5
      shardkit lint shards
    """  # noqa: D301
    from shardkit.annotations.request import AnnotationRequest
    from shardkit.cli import EXIT_FAILED
    from shardkit.cli.lint import lint, show_lint
    from shardkit.cli.storage_options import parse_storage_options

    linted = lint(
        path,
        AnnotationRequest(
            format=format,
            column=pairs("--column", column, COLUMN_NEEDED),
            names=names,
            also=pairs("--also", also, ALSO_NEEDED),
            duration_s=duration,
            split_files=split_files(split_file),
        ),
        storage_options=parse_storage_options(storage_option),
    )
    if json_:
        _print_json(linted.to_json())
    else:
        show_lint(linted)
    if linted.findings:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def stats(
    path: Annotated[str, typer.Argument(help="A data set.")],
    split: Annotated[str | None, typer.Option(help="Of this split only. [default: all clips]")] = None,
    where: WhereOption = None,
    modality: Annotated[Modality, typer.Option(help="Features of the sound, or red, green and blue.")] = "audio",
    frontend: Annotated[FrontEnd | None, typer.Option(help="Of audio: whose features. [default: ast]")] = None,
    size: Annotated[int | None, typer.Option(help="Of video: crop the centre, where frames differ in size.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes. [default: as in shardkit.loader]")] = None,
    storage_option: StorageOption = None,
    json_: JsonOption = False,
) -> None:
    """Compute mean and standard deviation of a split, for a front end or for normalising frames.

    \b
    Examples:
      shardkit stats shards --split train --frontend ast
      shardkit stats shards --split train --modality video
    """  # noqa: D301
    from shardkit.cli.statistics import measure_statistics, show_statistics
    from shardkit.cli.storage_options import parse_storage_options

    measured = measure_statistics(
        path,
        split=split,
        where=where,
        modality=modality,
        frontend=frontend,
        size=size,
        workers=workers,
        storage_options=parse_storage_options(storage_option),
        quiet=json_,
    )
    if json_:
        _print_json(measured.to_json())
    else:
        show_statistics(measured)


@app.command()
def bench(
    path: Annotated[str, typer.Argument(help="A data set: a folder or a URL.")],
    split: Annotated[str | None, typer.Option(help="Load this split only. [default: all clips]")] = None,
    where: WhereOption = None,
    batch_size: Annotated[int, typer.Option(help="Clips a batch.")] = 16,
    frames: Annotated[int | None, typer.Option(help="Frames a clip. [default: all that are stored]")] = None,
    frame_choice: Annotated[FrameChoice, typer.Option(help="Which ones, with --frames.")] = "uniform",
    size: Annotated[int | None, typer.Option(help="Height and width to crop to. [default: as stored]")] = None,
    crop: Annotated[Crop, typer.Option(help="Where to crop.")] = "center",
    window: Annotated[float | None, typer.Option(help="Seconds of each clip. [default: whole clips]")] = None,
    modalities: Annotated[str, typer.Option(help="video, audio or both.")] = "video,audio",
    features: Annotated[str, typer.Option(help="Of those that were packed, such as vggish,resnet.")] = "",
    decoder: Annotated[Decoder, typer.Option(help="auto takes libjpeg-turbo for JPEG frames.")] = "auto",
    worker_type: Annotated[WorkerType, typer.Option(help="Processes or threads.")] = "process",
    workers: Annotated[
        str | None,
        typer.Option(help="Numbers of workers to measure with, such as 2 or 1,2,4. [default: as a loader's]"),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long to measure each, after a second of warm-up.")] = 10.0,
    consumer_ms: Annotated[
        float, typer.Option(help="Python that the loop burns on each batch: would yours be held up?")
    ] = 0.0,
    cache_dir: Annotated[str | None, typer.Option(help="Keep shards from afar in this folder.")] = None,
    cache_limit: Annotated[str | None, typer.Option(help="So much of them at most, such as 200GB.")] = None,
    shuffle_shards: Annotated[
        int | None, typer.Option(help="Shuffle among so many shards at a time. [default: all]")
    ] = None,
    locality: Annotated[Locality | None, typer.Option(help="node: each machine its share of the shards.")] = None,
    storage_timeout: Annotated[float, typer.Option(help="Seconds that a read over the network is tried.")] = 120.0,
    storage_option: StorageOption = None,
    json_: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write all figures here as JSON; - prints only them.")
    ] = None,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE.png", help="Draw throughput over workers; needs 'shardkit[plot]'.")
    ] = None,
) -> None:
    """Measure how fast a data set loads on this machine, and say what holds it up.

    \b
    Under torchrun all ranks measure together, and the first one adds them up.

    \b
    Examples:
      shardkit bench shards --split train --size 224
      torchrun --nproc-per-node 4 -m shardkit bench s3://bucket/shards --size 224 --cache-dir /scratch/cache
      shardkit bench shards --size 224 --workers 1,2,4,8 --consumer-ms 12 --json bench.json --plot bench.png
    """  # noqa: D301
    from shardkit.cli.bench import run_bench
    from shardkit.cli.storage_options import parse_storage_options

    run_bench(
        path,
        {
            "split": split,
            "where": where,
            "batch_size": batch_size,
            "frames": frames,
            "frame_choice": frame_choice,
            "size": size,
            "crop": None if crop == "none" else crop,
            "window_s": window,
            "modalities": tuple(name.strip() for name in modalities.split(",")),
            "features": tuple(name.strip() for name in features.split(",") if name.strip()),
            "decoder": decoder,
            "worker_type": worker_type,
            "shuffle_shards": shuffle_shards,
            "locality": locality,
        },
        storage={
            "storage_options": parse_storage_options(storage_option),
            "cache_dir": cache_dir,
            "cache_limit": cache_limit,
            "storage_timeout_s": storage_timeout,
        },
        workers=workers,
        seconds=seconds,
        consumer_ms=consumer_ms,
        json_path=json_,
        plot_path=plot,
    )


@app.command()
def relabel(
    path: Annotated[str, typer.Argument(help="A packed data set.")],
    annotations: Annotated[str, typer.Argument(help="Annotation file with the new labels.")],
    format: FormatOption = "auto",
    column: ColumnOption = None,
    names: NamesOption = None,
    also: AlsoOption = None,
    duration: DurationOption = None,
    split_file: SplitFileOption = None,
    split: SplitOption = None,
    split_group: SplitGroupOption = "id",
    stratify: StratifyOption = None,
    seed: Annotated[int, typer.Option(help="Of the splits.")] = 0,
    storage_option: StorageOption = None,
    json_: JsonOption = False,
) -> None:
    """Give packed clips other labels, events and splits; media are untouched.

    \b
    Example:
      shardkit relabel shards AVO-65-corrected.csv --split 90/10
      shardkit relabel shards Annotations.txt --split-file ave_match:train=train_match.h5
    """  # noqa: D301
    import shardkit
    from shardkit.cli.storage_options import parse_storage_options
    from shardkit.cli.termination import ended_by_sigterm

    with ended_by_sigterm("the data set is whole, with its old labels or with all of the new ones"):
        report = shardkit.relabel(
            path,
            annotations,
            format=format,
            column=pairs("--column", column, COLUMN_NEEDED),
            names=names,
            also=pairs("--also", also, ALSO_NEEDED),
            duration_s=duration,
            split_files=split_files(split_file),
            split=split,
            split_group=split_group,
            stratify=stratify,
            seed=seed,
            storage_options=parse_storage_options(storage_option),
        )
    if json_:
        _print_json(asdict(report))
        return
    stays = "; the msg members in the tars stay as they were packed" if report.packed else ""
    typer.echo(f"relabelled {report.relabelled:,} clips{stays}")
    if report.unnamed:
        typer.echo(
            f"{report.unnamed:,} clips are not in {annotations}: their labels and events are unknown now, and "
            "they have no columns, and no split where the file has splits"
        )
    if report.background:
        typer.echo(f"{report.background:,} background clips stay as they are: of the training split, without labels")
    if report.unused:
        typer.echo(f"{report.unused:,} rows of {annotations} belong to no packed clip")
    if report.unread:
        typer.echo(f"{report.unread:,} rows of {annotations} cannot be used; packing it would name each")


def _audio_rate(said: str) -> int | Literal["native"]:
    if said == "native":
        return "native"
    if not said.isdecimal():
        raise UsageError(f"--audio-rate {said}: a number of Hz, or native, is needed")
    return int(said)


def _print_json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, ensure_ascii=False))
