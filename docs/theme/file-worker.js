/* Browsers refuse workers on pages that are opened as files. There the search runs in a hidden frame instead; the theme's
   code looks for this class by its name. */
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inside = frame.contentWindow
      inside.postMessage = data => this.receive(data)
      inside.importScripts = () => Promise.resolve() // languages but English, which the site doesn't have
      const script = inside.document.createElement("script")
      script.src = new URL(url, location)
      script.onload = () => {
        this.send = data => inside.dispatchEvent(new inside.MessageEvent("message", { data }))
        this.waiting.forEach(this.send)
      }
      inside.document.body.append(script)
    }

    postMessage(data) {
      this.send ? this.send(data) : this.waiting.push(data)
    }

    receive(data) {
      const event = new MessageEvent("message", { data })
      this.dispatchEvent(event)
      this.onmessage?.(event)
    }

    terminate() {}
  }
  window.Worker = window.IFrameWorker
}
