// The page: takes a picture, shows what the engine in worker.js says of it.
const at = id => document.getElementById(id);
const picture = at("picture"), camera = at("camera"), status = at("status");
const root = document.documentElement;
if (window !== top) root.classList.add("framed");
if (frameElement) {  // in the documentation, the page is light or dark with what is round it
  const follow = () => { root.style.colorScheme = getComputedStyle(frameElement).colorScheme.replace("normal", ""); };
  new MutationObserver(follow).observe(frameElement.ownerDocument.body, { attributes: true });
  follow();
}

// A worker obeys the page's Content-Security-Policy only where its script is a blob.
const script = new Blob([`import ${JSON.stringify(new URL("worker.js", import.meta.url).href)};`], { type: "text/javascript" });
const engine = new Worker(URL.createObjectURL(script), { type: "module" });
const waiting = new Map();
let asked = 0, turn = 0, ready = false, found = null, stream = null;

engine.onmessage = ({ data: { id, found, error } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error) return reject(new Error(error));
  ready = true;
  resolve(found);
};
engine.onerror = () => say("The page is not whole; build it again.", "problem");

// Score a picture: a Blob, or an ImageBitmap, which is handed over.
function assess(source) {
  return new Promise((resolve, reject) => {
    waiting.set(++asked, { resolve, reject });
    engine.postMessage({ id: asked, source }, source instanceof Blob ? [] : [source]);
  });
}

function say(text, kind = "") {
  if (status.textContent !== text) status.textContent = text;
  status.className = kind;
}

function sayBusy() {
  say(ready ? "Looking for faces" : "Loading the networks, once", "working");
}

async function takePicture(blob, isExample = false) {
  stopCamera();
  const mine = ++turn;
  show(null);
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(blob);
  picture.hidden = at("shown").hidden = false;
  at("credit").hidden = !isExample;
  sayBusy();
  try {
    const result = await assess(blob);
    if (turn === mine) show(result);
  } catch (error) {
    if (turn !== mine) return;
    at("shown").hidden = true;
    say(error.message, "problem");
  }
}

async function useCamera() {
  if (stream) return stopCamera();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, facingMode: "user" } });
  } catch {
    return say("No camera: there is none, or the browser may not use it.", "problem");
  }
  const mine = stream;
  turn++;
  show(null);
  picture.hidden = at("credit").hidden = true;
  camera.hidden = at("shown").hidden = false;
  camera.srcObject = mine;
  at("live").textContent = "Stop the camera";
  sayBusy();
  await camera.play();
  try {
    while (stream === mine) {
      const result = await assess(await createImageBitmap(camera));
      if (stream === mine) show(result);
    }
  } catch (error) {
    stopCamera();
    say(error.message, "problem");
  }
}

function stopCamera() {
  stream?.getTracks().forEach(track => track.stop());
  stream = camera.srcObject = null;
  camera.hidden = true;
  at("live").textContent = "Use the camera";
}

// Show what was found; null clears.
function show(result) {
  found = result;
  at("boxes").replaceChildren();
  at("faces").replaceChildren();
  at("time").textContent = "";
  at("choice").hidden = !result?.faces.length;
  if (!result) return;
  if (!at("accept").length) {
    const uses = { enrol: "enrolment", identify: "identification" };
    for (const [name, score] of Object.entries(result.points)) {
      at("accept").add(new Option(`${uses[name] ?? name}: from score ${score.toFixed(2)}`, score));
    }
  }
  const least = Number(at("accept").value);
  result.faces.forEach((face, k) => {
    face.accepted = face.score >= least;
    addBox(face, k);
    addCard(face, k);
  });
  place();
  const accepted = result.faces.filter(face => face.accepted).length, count = result.faces.length;
  say(count ? `${count} ${count === 1 ? "face" : "faces"}, ${accepted} accepted` : "No face found");
  const ms = result.ms;
  at("time").textContent = `Search: ${ms.detection.toFixed(0)} ms. ` +
    (count ? `Alignment, score and reasons: ${ms.face.toFixed(0)} ms a face, on one core.` : "");
}

const tone = quality => quality >= 90 ? "good" : quality >= 60 ? "middling" : "bad";

function addBox({ box, quality, accepted }, k) {
  const button = document.createElement("button"), label = document.createElement("span");
  button.type = "button";
  button.tabIndex = -1;  // its card, which says the same, takes the focus
  button.className = tone(quality);
  button.ariaLabel = `Face ${k + 1}: quality ${quality}, ${accepted ? "accepted" : "rejected"}`;
  const sides = [found.width, found.height, found.width, found.height];
  ["left", "top", "width", "height"].forEach((name, side) => { button.style[name] = `${100 * box[side] / sides[side]}%`; });
  label.textContent = quality;
  button.append(label);
  button.onclick = () => { choose(k); at("faces").children[k].focus(); };
  at("boxes").append(button);
}

function addCard({ crop, quality, accepted, reasons, score, box }, k) {
  const card = at("card").content.cloneNode(true), item = card.querySelector("li");
  const write = (name, text) => { card.querySelector(name).textContent = text; };
  item.className = tone(quality);
  card.querySelector("canvas").getContext("2d").putImageData(crop, 0, 0);
  write(".quality", quality);
  write(".accepted", accepted ? "✓ accepted" : "✗ rejected");
  write(".details", `score ${score.toFixed(3)}, ${Math.round(box[2])} × ${Math.round(box[3])} px`);
  card.querySelector(".bar i").style.setProperty("--share", `${quality}%`);
  card.querySelector(".reasons").append(...reasons.map(({ text }) => {
    const line = document.createElement("li");
    line.textContent = text;
    return line;
  }));
  item.onfocus = item.onmouseenter = () => choose(k);
  at("faces").append(card);
}

function choose(k) {
  for (const list of [at("boxes"), at("faces")]) {
    [...list.children].forEach((one, index) => one.classList.toggle("chosen", index === k));
  }
}

// Lay the boxes over what is shown, whose size the page's width decides.
function place() {
  const shown = picture.hidden ? camera : picture;
  Object.assign(at("boxes").style, { width: `${shown.clientWidth}px`, height: `${shown.clientHeight}px` });
}

new ResizeObserver(place).observe(at("shown"));
picture.onload = place;
at("file").onchange = ({ target }) => { if (target.files[0]) takePicture(target.files[0]); target.value = ""; };
at("live").onclick = useCamera;
at("example").onclick = async () => takePicture(await (await fetch("example.jpg")).blob(), true);
at("accept").onchange = () => show(found);
addEventListener("paste", ({ clipboardData }) => { if (clipboardData.files[0]) takePicture(clipboardData.files[0]); });
addEventListener("dragover", event => { event.preventDefault(); document.body.classList.add("dropping"); });
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", event => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files[0]) takePicture(event.dataTransfer.files[0]);
});
say("");
