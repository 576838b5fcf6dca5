// A camera that shows pictures at the times of the page's own sound: own_gestures_camera.py.
window.fake = { mode: 'calibrate', delay: DELAY };
const played = { context: null, starts: [] };
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (when, ...rest) {
  if (when !== undefined) { // what is only listened to has no time
    if (window.fake.fresh) played.starts = [];
    window.fake.fresh = false;
    played.context = this.context;
    played.starts.push(when);
  }
  return start.call(this, when, ...rest);
};
navigator.mediaDevices.getUserMedia = async () => {
  const body = await (await fetch('/fake-camera')).arrayBuffer(), length = new DataView(body).getUint32(0);
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(body, 4, length)));
  let at = 4 + length;
  const pictures = [];
  for (const size of about.sizes) {
    pictures.push(await createImageBitmap(new Blob([new Uint8Array(body, at, size)], { type: 'image/jpeg' })));
    at += size;
  }
  const canvas = document.createElement('canvas'); canvas.width = pictures[0].width; canvas.height = pictures[0].height;
  const g = canvas.getContext('2d'), first = about.times_s[0], step = about.times_s[1] - first;
  const stream = canvas.captureStream(0);
  setInterval(() => {
    const whole = (colour) => { g.fillStyle = colour; g.fillRect(0, 0, canvas.width, canvas.height); };
    const show = (time) => g.drawImage(pictures[Math.max(0, Math.min(pictures.length - 1, Math.floor((time - first) / step)))], 0, 0);
    whole('#111');
    if (window.fake.still !== undefined) show(window.fake.still);
    else if (played.context) {
      const stamp = played.context.getOutputTimestamp();
      const now = stamp.contextTime + (performance.now() - stamp.performanceTime) / 1000 - window.fake.delay;
      if (window.fake.mode === 'take') show(now - played.starts.at(-1));
      else if (played.starts.some((when) => now >= when && now < when + .12)) whole('#fff');
    }
    stream.getVideoTracks()[0].requestFrame();
  }, 1000 * step);
  return stream;
};
