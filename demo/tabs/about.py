"""The tab that tells visitors what the networks have learned, where they fail, and what happens to a picture."""

import html

import components
import store

from hw2 import labels

REPOSITORY_REPORT = (
    "<code>quarto render report</code> writes it to <code>report/_output</code>; then start the page again."
)


def tab(report, max_upload_mb, share):
    """Lay out the tab.

    report: whether the page serves the rendered report at report/index.html. share: whether a public link is requested.
    """
    classes = "".join(
        f"<div><dt>{html.escape(components.words(group))}</dt>"
        f"<dd>{html.escape(', '.join(components.words(name) for name in members))}</dd></div>"
        for group, members in labels.CIFAR100.items()
    )
    link = (
        "<a href='report/index.html' target='_blank'>Read the report.</a>"
        if report
        else f"The report: {REPOSITORY_REPORT}"
    )
    receivers = (
        "A picture that you upload is sent to the computer that runs this page. If the address of the page ends in "
        "gradio.live, the picture and the answer pass through the servers of that service, which could read them."
        if share
        else "A picture that you upload is sent to the computer that runs this page and to nobody else. The page "
        "contacts no other server."
    )
    components.text_block(
        f"""<section class='about'>
<h2>What the networks have learned</h2>
<p>The classifiers saw 45,000 photographs of CIFAR-100, each of 32 x 32 pixels and of one of the 100 classes below. Of
a larger picture, the central square is cut out and reduced to that size first, so small details cannot count. The
segmentation networks saw photographs of PASCAL VOC 2012 in which people had outlined
{len(labels.VOC_CLASSES) - 1} kinds of objects: {html.escape(", ".join(labels.VOC_CLASSES[1:]))}. {link}</p>
<h2>Where they fail</h2>
<p>A classifier has to choose one of its 100 classes, whatever the picture shows: it cannot say that it does not know. A
cat, which is not among them, becomes a snake or a tiger. The percentages are calibrated on photographs like those of
CIFAR-100. We tested the final network on 326 photographs of PASCAL VOC that show only aeroplanes, birds, boats,
cars, cats, dogs, horses, potted plants or sheep, none of which it has learned: it is more than 50% confident of its
answer for a quarter of them. The segmentation networks look for objects like those that they were trained on; a
landscape may have none.</p>
<h2>The 100 classes</h2>
<dl class='classes'>{classes}</dl>
<h2>Your pictures</h2>
<p>{receivers} The picture is deleted after about {store.KEEP_SECONDS // 60} minutes, and when the server stops. It
is not used for training. A file may be up to {max_upload_mb:g} MB.</p>
<p>The address of the page names the model and the example that you chose, so you can pass the address on. It does not
carry pictures that you upload.</p>
<h2>Licence</h2>
<p>The program and its models are under the MIT licence. CIFAR-100, PASCAL VOC and the ImageNet weights have their own
terms. The examples are free photographs; <code>demo/examples/README.md</code> names their sources.</p>
</section>"""
    )
