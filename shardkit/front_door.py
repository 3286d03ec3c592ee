"""The functions that users call; each spreads a config of the floors below into keywords."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from shardkit.errors import UsageError

if TYPE_CHECKING:
    import torch

    from shardkit.annotations.request import AnnotationRequest, FormatName, LevelNames
    from shardkit.indexing.outcome import IndexProgress, IndexReport
    from shardkit.loading.batch import Batch
    from shardkit.loading.batch_task import BatchTask
    from shardkit.loading.dataset import Dataset
    from shardkit.loading.loader import Loader
    from shardkit.loading.where import Where
    from shardkit.packing.outcome import PackProgress, PackReport
    from shardkit.packing.relabel import RelabelReport
    from shardkit.planning.sampling import FrameChoice, FrameSampling

PathLike = str | os.PathLike[str]


def pack(
    annotations: PathLike,
    *,
    media: PathLike | None = None,
    out: PathLike,
    features: Mapping[str, PathLike] | None = None,
    format: "FormatName" = "auto",
    column: Mapping[str, str] | None = None,
    names: "LevelNames | None" = None,
    also: Mapping[str, PathLike] | None = None,
    duration_s: float | None = None,
    split_files: Mapping[str, Mapping[str, PathLike]] | None = None,
    already_cut: bool = False,
    background: PathLike | None = None,
    name: str = "clips",
    frames: int | None = None,
    fps: float | None = None,
    frames_per_segment: int | None = None,
    segment_s: float = 1.0,
    size: int = 256,
    fit: Literal["short", "square"] = "short",
    video_codec: Literal["mjpeg", "h264", "raw"] = "mjpeg",
    quality: int | None = None,
    chroma: Literal["420", "444"] | None = None,
    crf: int | None = None,
    audio_codec: Literal["pcm", "flac"] = "pcm",
    audio_rate: int | Literal["native"] = 16000,
    audio_channels: int = 1,
    require: Literal["av", "audio", "video", "any", "features"] | None = None,
    split: str | Mapping[str, float] | None = None,
    split_group: str = "id",
    stratify: str | None = None,
    shard_bytes: int = 512_000_000,
    seed: int = 0,
    workers: int | None = None,
    clip_timeout_s: float = 60.0,
    max_rejects: float = 1.0,
    resume: bool = False,
    overwrite: bool = False,
    part: str | tuple[int, int] | None = None,
    finish: bool = False,
    engine: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: "Callable[[PackProgress], None] | None" = None,
) -> "PackReport":
    """Packs annotated clips into tar shards.

    Args:
        annotations: The annotation file of AVO-65, AVE, AVVP (LLP) or FGAVE's chapters, or a table (CSV, TSV, JSONL,
            Parquet); a path or a URL, as `media` and `out` too.
        media: Folder of the media files; searched with its subfolders, never written to. None: features only, and each
            clip is as long as its row says.
        out: Folder to write the data set into.
        features: Name to arrays that were made of the clips before, on a disk of this machine: `FILE.h5:DATASET`, an
            array for each data row of the annotation file, in its order; or a folder of .npy files that are called
            KEY.npy, ID_STARTMS.npy, ID_STARTMS_ENDMS.npy, or ID.npy. Stored as float16; all of one have one shape.
        format: `auto` recognises the annotation file's format by its header.
        column: For tables: our column name to the file's, such as `{"id": "ytid"}`.
        names: For avo65: `inferred` names the classes of levels 2 and 3, which were released as numbers, after
            Hornbostel and Sachs.
        also: Role to a further file of the format: for avvp `train`, `val`, `test`, `audio` and `visual`, for chapters
            the vocabularies `actions` and `materials`, text with a class a line.
        duration_s: For chapters of one source: its length, where its last chapter ends.
        split_files: Named divisions into splits: name to split to the file that lists its clips: `.h5` with 0-based row
            numbers in the dataset `order`, or text with an id, a key or a row of AVE's a line.
        already_cut: Media files hold their clips and nothing else, also those that are named by the id alone, as LLP's.
        background: Folder of media without events, or its URL: each file becomes a training clip without events and
            labels, flagged `background`, as long as the annotated clips are at most. AVE's weak set-up needs them.
        name: Shards are called `NAME-000000.tar`, ….
        frames: Frames a clip: the centres of as many equal parts of its span. 16 where no rule is given.
        fps: Frames a second instead.
        frames_per_segment: Frames in every segment of `segment_s` seconds instead.
        segment_s: Length of a segment in seconds.
        size: Short side of the stored frames in pixels.
        fit: `short` keeps the aspect, `square` keeps the centre square.
        video_codec: `mjpeg`; `h264` takes half the bytes, more time to decode, and any frame needs those before it, up
            to eight; `raw` takes 18 times the bytes and no decoding. The last two make an odd `size` even.
        quality: Of `mjpeg`: JPEG quality, 1 to 100; None is 90.
        chroma: Of `mjpeg`: colour at half (`420`) or full (`444`) resolution; None is half.
        crf: Of `h264`: x264's constant rate factor, 1 (best) to 51; None is 13.
        audio_codec: `pcm`, or `flac`: the same samples in about half the bytes.
        audio_rate: Sample rate in Hz, or `native` to keep each source's.
        audio_channels: 1 mixes to mono, 2 to stereo.
        require: What a clip must have: picture and sound (`av`), one of them, or `any`: then a clip may lack features
            too. Otherwise it must have all; for `features` that is enough, and its media are packed where there are
            any. None is `av`, or `features` without media.
        split: Shares such as `"80/10/10"` (train/val/test) or `{"train": 0.9, "test": 0.1}`; None takes the
            first of split_files, or else the annotation file's splits.
        split_group: Clips that agree in it never straddle splits: `id` (the source: clips that share an id or a media
            file), `media`, or a column.
        stratify: Level or label set whose classes are spread evenly over the splits.
        shard_bytes: Size that shards are planned for.
        seed: Of the shuffle over shards and of the splits.
        workers: Worker processes; None: as many as there are usable cores.
        clip_timeout_s: A clip that takes longer is rejected.
        max_rejects: Share of rows that may be rejected.
        resume: Go on where an earlier run of the same job stopped.
        overwrite: Replace the data set that is in `out`.
        part: Pack the shards of one part only, such as `"3/16"` or (3, 16), and write no manifest; all parts need the
            same arguments and see the same files, and may run at once, anywhere.
        finish: Pack nothing: check that all parts are there, and write what makes them a data set.
        engine: `local`, or `ray`: each shard is a task of a Ray cluster, whose nodes all reach `media` and `out`;
            `workers` are then those of each task, one where None.
        ray_address: Of the cluster; None: what `ray.init()` finds or starts.
        storage_options: For URLs, what fsspec's file system takes (key, secret, endpoint, …).
        progress: Is told how far the run is.

    Returns:
        What was packed and rejected.

    Raises:
        UsageError: An option is wrong, output is there already, or parts are missing.
        DataError: The annotation file cannot be read.
        TooManyRejectsError: More rows are rejected than `max_rejects` allows, or none can be packed.
        StorageError: A file cannot be read or written.
        WorkerError: Worker processes cannot be started, or a Ray task was lost too often.

    Example:
        >>> shardkit.pack("AVO-65.csv", media="videos", out="shards", split="80/10/10")  # doctest: +SKIP
    """
    from shardkit.packing.features import parse_features
    from shardkit.packing.job import PackJob
    from shardkit.packing.pack import run_job
    from shardkit.packing.parts import parse_part
    from shardkit.packing.settings import PackSettings, video_settings
    from shardkit.packing.splits import parse_split
    from shardkit.planning.sampling import FrameSampling
    from shardkit.storage.locations import Location, check_options_used

    settings = PackSettings(
        sampling=_sampling(frames, fps, frames_per_segment, segment_s) or FrameSampling.count(16),
        size=size,
        fit=fit,
        video=video_settings(video_codec, quality=quality, chroma=chroma, crf=crf),
        audio_codec=audio_codec,
        audio_rate_hz=None if audio_rate == "native" else audio_rate,
        audio_channels=audio_channels,
        require=require or ("features" if media is None else "av"),
        shard_bytes=shard_bytes,
        seed=seed,
    )
    job = PackJob(
        annotations=Location.of(annotations, storage_options),
        media=None if media is None else Location.of(media, storage_options),
        out=Location.of(out, storage_options),
        settings=settings,
        features=parse_features(features or {}),
        request=_request(format, column, names, also, duration_s, split_files),
        already_cut=already_cut,
        background=None if background is None else Location.of(background, storage_options),
        name=name,
        split=parse_split(split) if isinstance(split, str) else split,
        split_group=split_group,
        stratify=stratify,
        workers=workers,
        clip_timeout_s=clip_timeout_s,
        max_rejects=max_rejects,
        resume=resume,
        overwrite=overwrite,
        part=None if part is None else parse_part(part),
        finish=finish,
        engine=engine,
        ray_address=ray_address,
    )
    check_options_used(*job.locations)
    return run_job(job, progress)


def index(
    shards: "PathLike | Sequence[PathLike]",
    *,
    out: PathLike | None = None,
    frames: int | None = None,
    fps: float | None = None,
    frames_per_segment: int | None = None,
    segment_s: float = 1.0,
    size: int | None = None,
    fit: Literal["short", "square"] | None = None,
    image_fps: float | None = None,
    audio_rate: int | Literal["native"] = 16000,
    audio_channels: int = 1,
    require: Literal["av", "audio", "video", "any"] = "av",
    label: Mapping[str, str] | None = None,
    classes: PathLike | Sequence[str] | None = None,
    workers: int | None = None,
    clip_timeout_s: float = 60.0,
    max_rejects: float = 1.0,
    resume: bool = False,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    progress: "Callable[[IndexProgress], None] | None" = None,
) -> "IndexReport":
    """Makes a data set of WebDataset tars that others wrote: an index and a manifest; the tars stay as they are.

    A sample has a video (`mp4`, `webm`, `mkv`, …) or pictures (`jpg`, any number, such as `KEY.000.jpg`), and sound: a
    member of its own (`wav`, `flac`, `mp3`, …) or the video's. Each is decoded once, in a worker process with a
    deadline; what cannot be is left out, and `rejects.jsonl` says why. Loading decodes again in every epoch: what is
    packed loads faster.

    Args:
        shards: A folder of tars, a tar, a pattern such as `data-{000000..000012}.tar`, or several of these: paths, or
            URLs that fsspec knows.
        out: Folder to write the index into, a path or a URL; None: where the tars lie.
        frames: Frames a clip: the centres of as many equal parts of it. 16 where no rule is given. Of pictures all are
            taken, whatever their number.
        fps: Frames a second instead.
        frames_per_segment: Frames in every segment of `segment_s` seconds instead.
        segment_s: Length of a segment in seconds.
        size: Short side in pixels that frames of videos are decoded to; None is 256. Pictures keep their size.
        fit: `short` (None) keeps the aspect, `square` keeps the centre square.
        image_fps: Pictures a second; None spreads a sample's pictures evenly over its sound, and shows each for a
            second where there is none.
        audio_rate: Sample rate in Hz that sound is resampled to, or `native` to keep each sample's.
        audio_channels: 1 mixes to mono, 2 to stereo.
        require: What a clip must have: picture and sound (`av`), one of them, or `any`.
        label: Label sets out of json members: name to `json.FIELD`; integers are ids, texts class names, lists several.
            Members `cls` are a label set by themselves, other fields of json, and `txt`, columns; its field `split`
            (or else a word in the tar's path, such as `train`) is the split.
        classes: Names of the classes that `cls` members number, or a file with one a line.
        workers: Worker processes; None: as many as there are usable cores.
        clip_timeout_s: A sample that takes longer is rejected.
        max_rejects: Share of samples that may be rejected.
        resume: Go on where an earlier run of the same job stopped.
        overwrite: Replace the index that is in `out`; never touches a tar, nor a data set that was packed.
        storage_options: For URLs, what fsspec's file system takes (key, secret, endpoint, …).
        progress: Is told how far the run is.

    Returns:
        What was indexed and rejected.

    Raises:
        UsageError: An option is wrong, or output is there already.
        DataError: Labels are no labels.
        TooManyRejectsError: More samples are rejected than `max_rejects` allows, or all.
        StorageError: A tar cannot be read, or the output not written.

    Example:
        >>> shardkit.index("data-{000000..000012}.tar", label={"instrument": "json.label"})  # doctest: +SKIP
    """
    from shardkit.indexing.job import IndexJob
    from shardkit.indexing.run import run_job
    from shardkit.indexing.sample_texts import TextRules, read_classes
    from shardkit.indexing.tars import expanded
    from shardkit.storage.files import local_path
    from shardkit.storage.locations import Location, check_options_used

    named = read_classes(local_path(classes)) if isinstance(classes, str | os.PathLike) else classes
    sources = expanded([shards] if isinstance(shards, str | os.PathLike) else shards, storage_options)
    target = None if out is None else Location.of(out, storage_options)
    if sources:
        check_options_used(*sources, *([] if target is None else [target]))
    job = IndexJob(
        sources=sources,
        out=target,
        sampling=_sampling(frames, fps, frames_per_segment, segment_s),
        size=size,
        fit=fit,
        image_fps=image_fps,
        audio_rate_hz=None if audio_rate == "native" else audio_rate,
        audio_channels=audio_channels,
        require=require,
        texts=TextRules.of(label or {}, named),
        workers=workers,
        clip_timeout_s=clip_timeout_s,
        max_rejects=max_rejects,
        resume=resume,
        overwrite=overwrite,
    )
    return run_job(job, progress)


def loader(
    source: "Dataset | PathLike | Sequence[PathLike]",
    *,
    batch_size: int,
    split: str | None = None,
    where: "Where | None" = None,
    modalities: Sequence[str] = ("video", "audio"),
    features: Sequence[str] = (),
    frames: int | None = None,
    frame_choice: "FrameChoice" = "uniform",
    size: int | tuple[int, int] | None = None,
    crop: Literal["center", "random"] | None = "center",
    flip: float = 0.0,
    window_s: float | None = None,
    segment_s: float | None = None,
    views: int | tuple[int, int] | None = None,
    columns: Sequence[str] = (),
    shuffle: bool = True,
    shuffle_shards: int | None = None,
    locality: Literal["node"] | None = None,
    balance: str | None = None,
    seed: int = 0,
    epochs: int | None = None,
    drop_last: bool = False,
    decoder: Literal["auto", "decord"] = "auto",
    workers: int | None = None,
    worker_type: Literal["process", "thread"] = "process",
    task: "str | BatchTask | None" = None,
    supervision: Literal["full", "weak"] = "full",
    label: str | None = None,
    level: int | str | None = None,
    transform: "Callable[[Batch], Any] | None" = None,
    on_error: Literal["raise", "skip"] = "raise",
    max_skipped: float = 0.01,
    verify: bool = True,
    device: "torch.device | str | None" = None,
    timeout_s: float = 60.0,
    storage_options: Mapping[str, Any] | None = None,
    cache_dir: PathLike | None = None,
    cache_limit: int | str | None = None,
    storage_timeout_s: float | None = None,
) -> "Loader":
    """Streams batches of a data set into a training loop.

    Args:
        source: A data set, or what names one: a path, a URL, a pattern or a list of tars; see `shardkit.open`.
        batch_size: Clips a batch on each rank. Beyond the number of clips the rest is padding with weight 0: a warning
            says so.
        split: Load this split only, or `SCHEME:NAME` of a named division into splits; "" is the clips without one.
        where: Load only the clips for which this condition on the index holds, such as `level_1 == 3` or
            `"silent" not in flags`; see `Dataset.select`. No byte of other clips is read.
        modalities: What to load, of `video` and `audio`; the other costs no bytes, and its options have no effect.
        features: What to load into `batch.features` of the arrays that were packed with the clips, as float32; the
            others cost no bytes. With `window_s`, the first dimension of arrays of several is time, equal parts of the
            clip's span, and a fixed number of them is loaded: those in the window, and zeros behind the clip's end.
            Without it arrays come whole: of a clip that is shorter than others, rows are not those of its segments.
        frames: T, chosen from the stored frames of the window; None takes all.
        frame_choice: One frame of each of T equal parts of the window, its middle (`uniform`) or at a `random` place
            that is the same in every part; or T neighbours (`contiguous`), from a random place with `shuffle`, else
            from the middle.
        size: Height and width to crop to; None needs frames of one size.
        crop: Where to crop: the `center`, at `random`, or None for frames that have the size already.
        flip: Chance that a clip's frames are mirrored.
        window_s: Length in seconds of the part of a clip that is loaded: at random with `shuffle`, else from the
            middle; None loads whole clips. Behind the end of a shorter clip is padding; not every clip may be shorter
            by more than a tenth.
        segment_s: Length in seconds of the segments that windows are cut into, N of them, as far as they are at least
            half in the window; frames then are T / N of each segment, its own, and windows begin at a segment. None: if
            `task` needs segments, the length by which frames were packed, else 1; without such a task no segments.
        views: A number V of independent views of every clip, for contrastive training: each has its own window (at
            random, also without `shuffle`), frames, crop and flip, of which something must be drawn; or (windows,
            crops) at fixed places, window by window, for multi-view evaluation. Video becomes [B, V, T, 3, H, W],
            audio [B, V, C, S].
        columns: Annotation columns to put into `batch.columns`.
        shuffle: Another order every epoch, a pure function of seed and epoch; False: as stored.
        shuffle_shards: Clips are shuffled among so many shards, drawn anew every epoch, before any of the next come:
            what a cache of limited size has to hold, twice. None shuffles among all.
        locality: `node` gives every machine of a job another stretch of the epoch's shuffled shards, so that each reads
            its share of the bytes only, and not the whole data set; a batch then is drawn from the shards of that
            stretch on each. None: every rank reads of every shard.
        balance: A level or a label set whose classes come about equally often, as in training on AudioSet: an epoch is
            as many draws with replacement as there are clips, each clip's chance in proportion to 1 ÷ (clips of its
            class + 0.01), summed over its labels where it has several. Some clips come several times an epoch, some not
            at all; those without a known class are never drawn. For training: evaluate without.
        seed: Of order, windows and crops.
        epochs: Epochs that one iteration runs through without a pause; None is one. An iteration ends after an epoch
            whose number is one less than a multiple of it, also when it was resumed.
        drop_last: Leave out the last, short batch, instead of padding it with weight 0.
        decoder: `auto` takes libjpeg-turbo for JPEG frames and FFmpeg for H.264, `decord` decord for all.
        workers: Workers; None: this rank's share of the cores, less one where that leaves at least two.
        worker_type: `process`, or `thread` for notebooks and where there is no memfd; tars that were indexed, not
            packed, are decoded in processes only.
        task: What `batch.target` is for: `classification`, `avel` (audio-visual event localization), `avvp`
            (audio-visual video parsing), `cml` (cross-modality localization), or a task of `shardkit.tasks`.
        supervision: Of avel and avvp: targets a segment (`full`) or a clip (`weak`); `batch.segment_labels` and
            `batch.segment_targets` are there in any case, to evaluate with.
        label: Of classification and weak targets: the label set; None where only one will do.
        level: Of classification: the level of a hierarchy, by name or number; None is the deepest.
        transform: Called with each batch in the training process; what it returns is yielded. A batch that comes back
            with its `target` None gets the task's for what it is now.
        on_error: A clip that is damaged, or that workers die or hang on, is an error (`raise`), or is logged (logger
            `shardkit`), counted (`loader.skipped`) and has weight 0 and a copy of a good clip in its place (`skip`). A
            shard that is missing or cannot be read is an error either way.
        max_skipped: Share of an epoch's clips that `skip` bears before it raises, on each rank; always at least eight.
        verify: Check digests before decoding.
        device: Move each batch to this device before it is handed out.
        timeout_s: A clip that takes longer is a fault, and its worker is replaced; reading over a network has
            storage_timeout_s on top.
        storage_options: Of a path or URL, this and the next three are as in `shardkit.open`.
        cache_dir: Where whole shards are kept on this machine.
        cache_limit: Bytes of them at most.
        storage_timeout_s: How long a read over the network is tried.

    Returns:
        An iterable of batches; also a context manager.

    Raises:
        UsageError: An option is wrong, or the clips do not fit one shape.
        DataError: The data set is damaged.
        StorageError: The data set cannot be read.

    What iterating raises, see `Loader.__iter__`.

    Example:
        >>> for batch in shardkit.loader("shards", batch_size=16, split="train", size=224):  # doctest: +SKIP
        ...     loss = (criterion(model(batch.video), batch.labels["instrument"][:, 3]) * batch.weight).sum()
        ...     (loss * batch.loss_scale).backward()
    """
    from shardkit.loading.config import LoaderConfig
    from shardkit.loading.loader import Loader

    if isinstance(task, str):
        from shardkit.tasks import task_of

        task = task_of(task, supervision=supervision, label=label, level=level)
    elif (supervision, label, level) != ("full", None, None):
        raise UsageError(
            f"supervision={supervision!r}, label={label!r}, level={level!r} say which targets a task has, and task is "
            f"{task!r}: name one, such as task='classification'; one of your own has them already"
        )
    return Loader(
        source,
        LoaderConfig(
            batch_size=batch_size,
            split=split,
            where=where,
            modalities=_names("modalities", modalities),
            features=_names("features", features),
            frames=frames,
            frame_choice=frame_choice,
            size=size,
            crop=crop,
            flip=flip,
            window_s=window_s,
            segment_s=segment_s,
            views=views,
            columns=_names("columns", columns),
            shuffle=shuffle,
            shuffle_shards=shuffle_shards,
            locality=locality,
            balance=balance,
            seed=seed,
            epochs=epochs,
            drop_last=drop_last,
            decoder=decoder,
            workers=workers,
            worker_type=worker_type,
            task=task,
            transform=transform,
            on_error=on_error,
            max_skipped=max_skipped,
            verify=verify,
            device=device,
            timeout_s=timeout_s,
            storage_options=storage_options,
            cache_dir=cache_dir,
            cache_limit=cache_limit,
            storage_timeout_s=storage_timeout_s,
        ),
    )


def relabel(
    path: PathLike,
    annotations: PathLike,
    *,
    format: "FormatName" = "auto",
    column: Mapping[str, str] | None = None,
    names: "LevelNames | None" = None,
    also: Mapping[str, PathLike] | None = None,
    duration_s: float | None = None,
    split_files: Mapping[str, Mapping[str, PathLike]] | None = None,
    split: str | Mapping[str, float] | None = None,
    split_group: str = "id",
    stratify: str | None = None,
    seed: int = 0,
    storage_options: Mapping[str, Any] | None = None,
) -> "RelabelReport":
    """Gives a data set the labels, events, splits and columns of another annotation file; media are untouched.

    Clips are matched by id, start and end. Clips that the file does not name keep their media; their labels
    and events are unknown then, and they have no columns, and no split where the file has splits. Named splits that the
    files do not name stay. The `msg` members in packed tars stay as they were.

    Args:
        path: The data set: a path or a URL.
        annotations: The annotation file: a path or a URL.
        format: As in `pack`.
        column: As in `pack`.
        names: As in `pack`.
        also: As in `pack`.
        duration_s: As in `pack`.
        split_files: As in `pack`; None keeps the named divisions that there are.
        split: As in `pack`.
        split_group: As in `pack`.
        stratify: As in `pack`.
        seed: Of the splits.
        storage_options: As in `pack`.

    Returns:
        How many clips have new labels, and how many the file does not name.

    Raises:
        UsageError: An option is wrong, or the file names none of the clips.
        DataError: The annotation file or the data set cannot be read.
        StorageError: The data set cannot be written.

    Example:
        >>> shardkit.relabel("shards", "AVO-65-corrected.csv", split="90/10")  # doctest: +SKIP
    """
    from shardkit.packing.annotation_file import further_file
    from shardkit.packing.relabel import relabel_dataset
    from shardkit.packing.splits import parse_split
    from shardkit.storage.locations import Location, check_options_used

    dataset, labels = Location.of(path, storage_options), Location.of(annotations, storage_options)
    request = _request(format, column, names, also, duration_s, split_files)
    check_options_used(dataset, labels, *(further_file(name, labels) for name in request.files))
    return relabel_dataset(
        dataset,
        labels,
        request=request,
        split=parse_split(split) if isinstance(split, str) else split,
        split_group=split_group,
        stratify=stratify,
        seed=seed,
    )


def _request(
    format: "FormatName",
    column: Mapping[str, str] | None,
    names: "LevelNames | None",
    also: Mapping[str, PathLike] | None,
    duration_s: float | None,
    split_files: Mapping[str, Mapping[str, PathLike]] | None,
) -> "AnnotationRequest":
    from shardkit.annotations.request import AnnotationRequest

    return AnnotationRequest(
        format=format,
        column=column or {},
        names=names,
        also={role: os.fspath(file) for role, file in (also or {}).items()},
        duration_s=duration_s,
        split_files={
            scheme: {split: os.fspath(file) for split, file in files.items()}
            for scheme, files in (split_files or {}).items()
        },
    )


def _sampling(
    frames: int | None, fps: float | None, frames_per_segment: int | None, segment_s: float
) -> "FrameSampling | None":
    from shardkit.planning.sampling import FrameSampling

    if sum(rule is not None for rule in (frames, fps, frames_per_segment)) > 1:
        raise UsageError("frames, fps and frames_per_segment exclude each other: give one")
    if fps is not None:
        return FrameSampling.fps(fps)
    if frames_per_segment is not None:
        return FrameSampling.per_segment(frames_per_segment, segment_s)
    return None if frames is None else FrameSampling.count(frames)


def _names(option: str, value: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise UsageError(f"{option}={value!r}: a sequence of names is needed, such as ({value!r},)")
    return tuple(value)
