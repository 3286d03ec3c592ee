"""Augmentation and front ends for whole batches, on the device where the batch is.

Every transform is an `nn.Module` that takes and gives tensors: [B, ...], or [B, V, ...] where clips have views. What is
random acts in training mode only, draws once a clip, and draws on the CPU: from `generator=`, or from torch's default
generator, so that the same seed gives the same on every device.

    Normalize, RandomHorizontalFlip, RandomResizedCrop   frames [..., T, 3, H, W]
    Resample                                             audio [..., C, S]
    LogMel, Fbank                                        audio [..., C, S] → features [..., frames, mels]
    frontend                                             the same, as published models take it
    SpecAugment                                          features
    MixUp                                                audio, features or frames, and labels
    statistics                                           batches → mean and standard deviation
"""

from shardkit.transforms.dataset_statistics import Statistics, statistics
from shardkit.transforms.frames import Normalize, RandomHorizontalFlip
from shardkit.transforms.frontends import FrontEnd, frontend
from shardkit.transforms.mixup import Mixed, MixUp
from shardkit.transforms.resample import Resample
from shardkit.transforms.resized_crop import RandomResizedCrop
from shardkit.transforms.spec_augment import SpecAugment
from shardkit.transforms.spectrograms import Fbank, LogMel

__all__ = [
    "Fbank",
    "FrontEnd",
    "LogMel",
    "MixUp",
    "Mixed",
    "Normalize",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "Resample",
    "SpecAugment",
    "Statistics",
    "frontend",
    "statistics",
]
