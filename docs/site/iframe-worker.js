// The theme searches in a worker, which a browser does not start for a page that is opened as a file. A hidden frame
// that loads the worker's script, and passes messages on, does the same without a server.
class FileWorker extends EventTarget {
  constructor(script) {
    super()
    this.frame = document.createElement("iframe")
    this.frame.hidden = true
    const source = new URL(script, location.href).href.replaceAll('"', "%22")
    this.frame.srcdoc =
      '<script>postMessage = (data) => parent.postMessage(data, "*")</script>' + `<script src="${source}"></script>`
    this.isLoaded = new Promise((loaded) => this.frame.addEventListener("load", loaded))
    this.receive = ({ source, data }) => {
      if (source !== this.frame.contentWindow) return
      const message = new MessageEvent("message", { data })
      this.dispatchEvent(message)
      this.onmessage?.(message)
    }
    addEventListener("message", this.receive)
    document.body.append(this.frame)
  }

  postMessage(data) {
    const message = new MessageEvent("message", { data: structuredClone(data) })
    this.isLoaded.then(() => this.frame.contentWindow.dispatchEvent(message))
  }

  terminate() {
    removeEventListener("message", this.receive)
    this.frame.remove()
  }
}

if (location.protocol === "file:") window.Worker = FileWorker
