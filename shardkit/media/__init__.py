"""Media in and out: FFmpeg (PyAV) for sources, libjpeg-turbo for packets, decord for packed videos.

    probe.py         what is really in a file: its packets, and what they tell         PyAV
    source.py        an open file: the streams FFmpeg would choose, one time axis      PyAV
    frames.py        the frames shown at given instants, as RGB                        PyAV
    picked_frames.py the same out of held packets, with less decoding                  PyAV
    frame_clock.py   when a decoded frame is shown                                     PyAV
    geometry.py      pixel aspect, display matrix, scaling, cropping
    audio.py         the sound of a span, as PCM                                       PyAV
    demux.py         the coded frames of a video in memory                             PyAV
    mux.py           packets → MP4, MOV                                                PyAV
    packets.py       coded bytes on their way into a decoder                           PyAV
    jpeg.py          RGB ↔ JPEG packets                                                simplejpeg
    h264.py          RGB ↔ H.264 packets                                               PyAV
    raw_video.py     RGB as it is, in a MOV                                            PyAV
    flac.py          PCM ↔ FLAC frames                                                 PyAV
    decord_video.py  MP4, MOV → RGB                                                    decord
    ffmpeg_log.py    silence                                                           PyAV

Import the modules, not the package: each of the three libraries is loaded by the modules that need it, and by
no others.
"""
