// The engine, beside the page: a picture in, faces with scores and reasons out.
import * as ort from "./onnxruntime/ort.wasm.bundle.min.mjs";
import { align } from "./alignment.js";
import { detect } from "./detector.js";
import { fromRgba, toRgba } from "./pixels.js";
import { findReasons, measure, quality } from "./reasons.js";

const here = name => new URL(name, import.meta.url).href;
ort.env.wasm.numThreads = 1;  // more would need headers that a plain web server does not send
ort.env.wasm.wasmPaths = { wasm: here("onnxruntime/ort-wasm-simd-threaded.wasm") };

let engine;  // a promise; made when the first picture comes, and again if that failed

async function open() {
  const found = await fetch(here("facts.json"));
  if (!found.ok) throw new Error(`facts.json is missing (${found.status}); build the page again`);
  const facts = await found.json(), networks = {};
  for (const name of ["fiqa-detector", "fiqa-nano", "fiqa-reasons"]) {
    const session = await ort.InferenceSession.create(here(`models/${name}.onnx`));
    networks[name] = async ({ data, width, height }) => {
      const input = new ort.Tensor("uint8", data, [1, height, width, 3]);
      const output = await session.run({ [session.inputNames[0]]: input });
      return output[session.outputNames[0]].data;
    };
  }
  return { facts, networks };
}

const opened = () => engine ??= open().catch(error => { engine = undefined; throw error; });

// Find, align, score and explain every face of a picture.
export async function assess(image) {
  const { facts, networks } = await opened();
  const start = performance.now(), faces = await detect(image, networks["fiqa-detector"], facts);
  const detected = performance.now();
  for (const face of faces) {
    face.crop = align(image, face.landmarks, facts);
    face.score = (await networks["fiqa-nano"](face.crop))[0];
    face.quality = quality(face.score, facts.calibration);
    face.measures = measure(face.crop, face.landmarks, image, await networks["fiqa-reasons"](face.crop), facts);
    face.reasons = findReasons(face.measures, facts);
  }
  const ms = { detection: detected - start, face: (performance.now() - detected) / Math.max(faces.length, 1) };
  return { faces, ms, points: facts.calibration.points, width: image.width, height: image.height };
}

// Decode a Blob without its colour profile, with its EXIF orientation, as the SDK does; or take an ImageBitmap.
export async function read(source) {
  const plain = { premultiplyAlpha: "none", colorSpaceConversion: "none" };
  const bitmap = source instanceof Blob ? await createImageBitmap(source, plain) : source;
  const { facts } = await opened(), sides = [bitmap.width, bitmap.height];
  if (Math.min(...sides) < facts.min_side || sides[0] * sides[1] > facts.max_pixels) {
    const most = facts.max_pixels / 1e6;
    throw new Error(`The picture has ${sides.join(" × ")} pixels. Take one of at least ${facts.min_side} × ${facts.min_side}, and at most ${most} million.`);
  }
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return fromRgba(context.getImageData(0, 0, canvas.width, canvas.height));
}

self.onmessage = async ({ data: { id, source } }) => {
  try {
    const found = await assess(await read(source));
    for (const face of found.faces) face.crop = toRgba(face.crop);
    self.postMessage({ id, found });
  } catch (error) {
    const unreadable = error.name === "InvalidStateError";
    self.postMessage({ id, error: unreadable ? "This file is no picture that the browser can read." : error.message });
  }
};
