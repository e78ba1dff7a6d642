"""Facts about the paper's text and its released code that no table holds: (where, what is said, what is found)."""

# Top-1 on ImageNet-1k of the weights that the released code loads: torchvision's own figure, WaveMix's file name.
WEIGHTS_TOP1 = {
    "resnet50": 80.858, "wavemix": 75.06, "convnext_tiny": 82.52, "swin_t": 81.474, "swin_v2_t": 82.072,
    "efficientnet_v2_s": 84.228, "densenet161": 77.138, "mobilenet_v3_large": 75.274, "regnet_y_3_2gf": 81.982,
    "resnext50_32x4d": 81.198, "shufflenet_v2_x2_0": 76.230,
}  # fmt: skip
TEXT_FACTS = (
    (
        "Section 4.3, NEU, train / test",
        "1,200 / 600",
        "1,440 / 360 in Table 3",
    ),
    (
        "Section 5, every accuracy",
        "the best of three runs",
        "too high, the more so the more runs differ; neither the other two nor their spread are printed",
    ),
    (
        "Section 5, early stopping and reported accuracy",
        "no split but train and test is named",
        "the epoch, the augmentation and the run are chosen on the test images; the code has no val split either",
    ),
    (
        "Section 6.2, radiology",
        "ResNeXt and ResNeXt are better",
        (
            "one name twice; in Table 8 resnext50_32x4d and shufflenet_v2_x2_0 lead with all images, densenet161 and "
            "resnext50_32x4d with 10 %"
        ),
    ),
    ("Table 8, train images of eurosat", "18.900", "18,900 in Table 3"),
)
CODE_FACTS = (
    ("Table 3, flowers102_trainval, train", "2,040", "1,020: the train part alone is loaded"),
    (
        "Table 6, BreakHis",
        "train and test",
        "a ready-made split by image, val and test joined; images of one patient may lie on both sides",
    ),
    ("Table 8, rsna_pneumonia", "train and test", "split by row; images of one patient may lie on both sides"),
    (
        "Every accuracy",
        "top-1 on the test images",
        "the mean of the accuracies of the batches, where a short last batch counts as much as a full one",
    ),
    (
        "Section 5, augmentation",
        "TrivialAugment except for BreakHis and Galaxy10",
        "none for cub200, ucmerced, eurosat, plantvillage and plantclef either",
    ),
    (
        "Section 5, early stopping",
        "after 10 epochs",
        (
            "9, 10 or 20 by dataset and phase; on cifar10 and cifar100 the second phase (SGD) never runs, because the "
            "counter is not set back"
        ),
    ),
    ("Section 5, mixed precision", "used", "only the loss is computed under it"),
    (
        "Section 5, normalisation",
        "one protocol",
        "train and test are each scaled by their own mean and deviation, except dtd; cifar100 has those of cifar10",
    ),
    (
        "Table 5, galaxy10",
        "eleven backbones",
        (
            "the script has resnet50 alone; images enter as numbers from 0 to 255, and the learning rate is a tenth of "
            "the others'; its split has no seed"
        ),
    ),
    ("Section 5, size of the images", "one for all but BreakHis", "224 on eurosat, 256 elsewhere"),
    (
        "Tables 4 and 8",
        "results on tiny_imagenet, dogs, stanford_cars and rsna_pneumonia",
        "no script for them, nor for NEU, nor for any fraction of the train images",
    ),
)  # fmt: skip
# What is known of the numbers behind each claim; only for the published tables.
CAVEATS = {
    "imagenet": "Table 2 prints another accuracy of resnet50 than its weights have",
    "astronomy": "the released script of galaxy10 holds resnet50 alone, and its images enter as numbers from 0 to 255",
    "medical": (
        "BreakHis is split by image in four magnifications of the same patients, so that its four columns are one test "
        "more than four"
    ),
    "lighter": "five of the six domains have one or two datasets, BreakHis counted once",
    "stay_on_top": "the cells of resnet50 and wavemix on tiny_imagenet are exchanged between Tables 4 and 7",
}
TOO_HIGH = (
    "Each number is the best of three runs, and each run's epoch was chosen on the test images: all are too high, by "
    "an unknown amount, and no interval here takes that into account."
)
