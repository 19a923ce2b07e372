import torch

from nas.data.images import Images
from nas.training.augment import Augmenter, plain_batch


def images(count=50, mirror=True):
    """The value of a pixel is its position: value = 16 * row + column, so a crop can be read off."""
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    pixels = (16 * rows + columns + 1).to(torch.uint8).expand(count, 3, 8, 8).clone()
    pixels[:, 1] = 200
    return Images(pixels, torch.arange(count), (0.5, 0.25, 0.0), (0.5, 0.25, 1.0), mirror)


def batch_of(augmenter, seed=0):
    draws = augmenter.draw(torch.Generator().manual_seed(seed))
    return draws, *augmenter.batch(draws, 0, len(augmenter))


def undo(batch):
    """Pixel values from a normalised batch."""
    mean, std = torch.tensor((0.5, 0.25, 0.0)), torch.tensor((0.5, 0.25, 1.0))
    return ((batch * std[:, None, None] + mean[:, None, None]) * 255).round().int()


def test_without_augmentation_a_batch_is_the_normalised_image():
    data = images()
    draws, batch, labels = batch_of(Augmenter(data, crop=0.0, flip=False, cutout=0.0))
    assert torch.equal(labels, draws.order)
    assert torch.equal(undo(batch), data.pixels[labels].int())
    assert torch.allclose(batch, (data.pixels[labels] / 255 - torch.tensor(data.mean)[:, None, None])
                          / torch.tensor(data.std)[:, None, None], atol=1e-5)  # fmt: skip
    assert torch.equal(plain_batch(data, 0, 50)[labels], batch)


def test_a_crop_is_the_padded_image_shifted_by_its_draw():
    data = images()
    draws, batch, _ = batch_of(Augmenter(data, crop=0.25, flip=False, cutout=0.0))
    padded = torch.nn.functional.pad(data.pixels, (2, 2, 2, 2)).int()
    for i in range(50):
        top, left = int(draws.top[i]), int(draws.left[i])
        assert torch.equal(undo(batch)[i], padded[0, :, top : top + 8, left : left + 8])
    assert sorted(set(draws.top.tolist())) == [0, 1, 2, 3, 4]


def test_half_of_the_images_are_mirrored_only_where_a_mirrored_one_keeps_its_label():
    draws, batch, labels = batch_of(Augmenter(images(400), crop=0.0, flip=True, cutout=0.0))
    original = images(400).pixels[labels].int()
    assert 150 < int(draws.flip.sum()) < 250
    expected = torch.where(draws.flip[:, None, None, None], original.flip(3), original)
    assert torch.equal(undo(batch), expected)
    draws, _, _ = batch_of(Augmenter(images(400, mirror=False), crop=0.0, flip=True, cutout=0.0))
    assert not draws.flip.any()


def test_cutout_blanks_a_square_around_its_centre_clipped_at_the_border():
    draws, batch, _ = batch_of(Augmenter(images(), crop=0.0, flip=False, cutout=0.5))
    for i in range(50):
        row, column = int(draws.cut_row[i]), int(draws.cut_column[i])
        mask = torch.zeros(8, 8, dtype=torch.bool)
        mask[max(row - 2, 0) : row + 2, max(column - 2, 0) : column + 2] = True
        assert torch.equal(batch[i, 1] == 0, mask)


def test_a_seed_gives_the_same_epoch_and_batches_are_channels_last():
    augmenter = Augmenter(images(), crop=0.25, flip=True, cutout=0.5)
    _, first, _ = batch_of(augmenter, seed=1)
    _, again, _ = batch_of(augmenter, seed=1)
    _, other, _ = batch_of(augmenter, seed=2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.is_contiguous(memory_format=torch.channels_last)
