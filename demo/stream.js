// Keep Gradio's page from losing an answer.
//
// The page asks for an answer (queue/join) and reads it from a stream (queue/data), which the server closes when nothing
// is left to send. If the reply to queue/join overtakes the end of the stream, on another connection, the page takes the
// stream for open, reads nothing more, and waits for ever. So the reply is held back until the stream shows the new
// event, or has ended: then the page opens another one.
window.fetch = ((send) => {
    const LONGEST = 10000; // milliseconds
    let stream = { ended: true };

    const follow = () => {
        const decoder = new TextDecoder(), waiting = new Set();
        const followed = { ended: false, text: "" };
        const look = () => waiting.forEach((ready) => ready());
        followed.read = (bytes) => { followed.text += decoder.decode(bytes, { stream: true }); look(); };
        followed.end = () => { followed.ended = true; look(); };
        followed.shows = (event) => new Promise((resolve) => {
            const ready = () => {
                if (!followed.ended && !followed.text.includes(event)) return;
                waiting.delete(ready);
                setTimeout(resolve); // after the page has read it too
            };
            waiting.add(ready);
            setTimeout(resolve, LONGEST);
            ready();
        });
        return followed;
    };

    const copied = (response, followed) => {
        const reader = response.body.getReader();
        const body = new ReadableStream({
            async pull(controller) {
                try {
                    const { done, value } = await reader.read();
                    if (done) { controller.close(); followed.end(); }
                    else { controller.enqueue(value); followed.read(value); }
                } catch (error) { controller.error(error); followed.end(); }
            },
            cancel(reason) { followed.end(); return reader.cancel(reason); },
        }, { highWaterMark: 0 });
        return new Response(body, { status: response.status, headers: response.headers });
    };

    return async (input, init) => {
        const { pathname } = new URL(input.url || input, location.href);
        if (pathname.endsWith("/queue/data")) {
            const followed = stream = follow();
            try {
                const response = await send(input, init);
                if (response.ok) return copied(response, followed);
                followed.end();
                return response;
            } catch (error) { followed.end(); throw error; }
        }
        const response = await send(input, init);
        if (pathname.endsWith("/queue/join") && response.ok && !stream.ended) {
            await stream.shows((await response.clone().json()).event_id);
        }
        return response;
    };
})(window.fetch.bind(window));
