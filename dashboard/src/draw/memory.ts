/** Draws the memory picture on a canvas. Knows where and what from `derive/memory`; asks nobody, keeps nothing. */

import { type Box, inSight, type Kind, type Lane, laneBox, type Layout, pieces, type Scale, type Target } from "../derive/memory";
import { bytes, visible } from "../format";
import type { Sizes } from "../wire";

export interface Palette {
  text: string; text2: string; text3: string; line: string; lineStrong: string; surface: string; hover: string; sunken: string;
  shared: string; shared2: string; sharedSoft: string; own: string; own2: string; bad: string; accent: string; chosen: string;
  font: string; state: (name: string) => string;
}

export interface Words {
  kind: (kind: Kind) => string;
  ofVirtual: (sizes: Sizes) => string;
  title: string;
  subtitle: string;
  total: string;
  caption: string;
  unknown: string;
}

export interface Scene {
  layout: Layout;
  scale: Scale;
  lanes: readonly Lane[];
  scrollTop: number;
  height: number;
  pointed: Target | null;
  chosenTid: number | null;
  words: Words;
}

export function paletteOf(element: Element): Palette {
  const style = getComputedStyle(element);
  const of = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return {
    text: of("text"), text2: of("text-2"), text3: of("text-3"), line: of("line"), lineStrong: of("line-strong"), surface: of("surface"), hover: of("hover"),
    sunken: of("sunken"), shared: of("shared"), shared2: of("shared-2"), sharedSoft: of("shared-soft"), own: of("own"), own2: of("own-2"), bad: of("bad"),
    accent: of("accent"), chosen: of("chosen"), font: of("font"), state: (name) => of(`state-${name}`),
  };
}

export function drawMemory(ink: CanvasRenderingContext2D, scene: Scene, palette: Palette): void {
  const { layout, scrollTop, height } = scene;
  ink.clearRect(0, 0, layout.width, height);
  ink.textBaseline = "alphabetic";
  const { first, last } = inSight(layout, scrollTop, height);
  for (let index = first; index < last; index += 1) {
    const lane = scene.lanes[index];
    if (lane) drawLane(ink, scene, lane, index, palette);
  }
  // What the figures at the lanes' ends are.
  ink.font = `11px ${palette.font}`;
  ink.fillStyle = palette.text3;
  for (const index of layout.sides ? [0, 1] : [0]) {
    if (index >= layout.lanes) continue;
    const box = laneBox(layout, index);
    ink.textAlign = box.leftwards ? "left" : "right";
    ink.fillText(scene.words.caption, box.leftwards ? box.x : box.x + box.width, box.y - scrollTop - 8);
  }
  drawHouse(ink, scene, palette);
}

function drawHouse(ink: CanvasRenderingContext2D, scene: Scene, palette: Palette): void {
  const { layout, words } = scene;
  const lift = layout.sides ? 0 : -scene.scrollTop;
  const { x, width, height } = layout.house;
  const y = layout.house.y + lift;
  const eaves = y + layout.roof;

  // Walls and roof as one shape: what stands in it belongs to all.
  ink.beginPath();
  ink.moveTo(x, y + height);
  ink.lineTo(x, eaves - 16);
  ink.lineTo(x + width / 2, y);
  ink.lineTo(x + width, eaves - 16);
  ink.lineTo(x + width, y + height);
  ink.closePath();
  ink.fillStyle = palette.surface;
  ink.fill();
  ink.fillStyle = palette.sharedSoft;
  ink.fill();
  ink.strokeStyle = palette.shared;
  ink.lineWidth = 2;
  ink.lineJoin = "round";
  ink.stroke();

  ink.textAlign = "center";
  ink.fillStyle = palette.text;
  ink.font = `650 15px ${palette.font}`;
  ink.fillText(words.title, x + width / 2, y + 38);
  ink.fillStyle = palette.text2;
  ink.font = `11.5px ${palette.font}`;
  ink.fillText(words.subtitle, x + width / 2, y + 54);

  layout.floors.forEach((floor, index) => {
    const box: Box = { ...floor.box, y: floor.box.y + lift };
    const lit = scene.pointed !== null && "floor" in scene.pointed && scene.pointed.floor === index;
    if (lit) {
      ink.fillStyle = palette.chosen;
      ink.fillRect(box.x + 1, box.y + 1, box.width - 2, box.height - 1);
    }
    ink.fillStyle = palette.shared;
    ink.globalAlpha = 0.3;
    ink.fillRect(box.x + 1, box.y, box.width - 2, 1);
    ink.globalAlpha = 1;
    const left = box.x + 16;
    const right = box.x + box.width - 16;
    const tall = box.height >= 66;
    const barHeight = tall ? Math.min(22, box.height - 50) : 10;
    const base = box.y + (box.height - (barHeight + 38)) / 2 + 13;
    ink.textAlign = "left";
    ink.font = `600 13px ${palette.font}`;
    ink.fillStyle = palette.text;
    ink.fillText(words.kind(floor.kind), left, base);
    ink.textAlign = "right";
    ink.fillText(floor.sizes.resident_bytes === null ? words.unknown : bytes(floor.sizes.resident_bytes), right, base);
    const barTop = base + 7;
    if (floor.bar === null) {
      ink.setLineDash([3, 3]);
      ink.strokeStyle = palette.lineStrong;
      ink.lineWidth = 1;
      ink.strokeRect(left + 0.5, barTop + 0.5, right - left - 1, barHeight - 1);
      ink.setLineDash([]);
    } else {
      // What is reserved, as an outline in the same scale; a torn edge where it goes on.
      ink.strokeStyle = palette.shared2;
      ink.lineWidth = 1;
      ink.setLineDash([2, 3]);
      const reach = Math.max(2, floor.outline.width - (floor.outline.cut ? 10 : 1));
      // Nothing reserved, nothing drawn.
      if (floor.sizes.virtual_bytes > 0) ink.strokeRect(left + 0.5, barTop + 0.5, reach, barHeight - 1);
      ink.setLineDash([]);
      if (floor.outline.cut) torn(ink, left + floor.outline.width - 9, barTop, barHeight, palette.text3);
      ink.fillStyle = palette.shared;
      const own = floor.bar.own > 0 ? Math.max(2, floor.bar.own) : 0;
      ink.fillRect(left, barTop, own, barHeight);
      if (floor.bar.others > 0) hatch(ink, left + own, barTop, Math.max(2, Math.min(floor.bar.others, right - left - own)), barHeight, palette.shared2, palette.shared);
    }
    ink.textAlign = "left";
    ink.font = `11px ${palette.font}`;
    ink.fillStyle = palette.text3;
    ink.fillText(words.ofVirtual(floor.sizes), left, barTop + barHeight + 13);
  });
}

function drawLane(ink: CanvasRenderingContext2D, scene: Scene, lane: Lane, index: number, palette: Palette): void {
  const box = laneBox(scene.layout, index);
  const top = box.y - scene.scrollTop;
  const wall = box.leftwards ? box.x + box.width : box.x;
  const direction = box.leftwards ? -1 : 1;
  const lit = scene.pointed !== null && "lane" in scene.pointed && scene.pointed.lane === index;
  const chosen = scene.chosenTid === lane.tid;
  if (lit || chosen) {
    ink.fillStyle = lit ? palette.hover : palette.chosen;
    ink.beginPath();
    ink.roundRect(box.x - 5, top, box.width + 10, box.height - 2, 5);
    ink.fill();
  }
  if (scene.layout.sides) {
    // A thread enters the house through its wall.
    ink.fillStyle = lit || chosen ? palette.accent : palette.lineStrong;
    ink.fillRect(box.leftwards ? wall + 2 : wall - 20, top + 18 + (box.height - 24) / 2, 18, 1);
  }

  const inner = ink.textAlign;
  ink.textAlign = box.leftwards ? "right" : "left";
  ink.font = `${lit || chosen ? "600 " : ""}12px ${palette.font}`;
  const dot = wall + direction * 4;
  ink.fillStyle = lane.state === null ? palette.lineStrong : palette.state(lane.state);
  ink.beginPath();
  ink.arc(dot, top + 9.5, 3.5, 0, Math.PI * 2);
  ink.fill();
  ink.fillStyle = palette.text;
  const name = clipped(ink, visible(lane.name), box.width * 0.55);
  ink.fillText(name, wall + direction * 14, top + 13.5);
  ink.textAlign = box.leftwards ? "left" : "right";
  ink.font = `11px ${palette.font}`;
  ink.fillStyle = palette.text2;
  const far = wall + direction * box.width;
  const stack = lane.stack;
  ink.fillText(stack === null ? scene.words.unknown : figures(lane), far, top + 13.5);
  ink.textAlign = inner;

  const barTop = top + 18;
  const barHeight = box.height - 24;
  if (stack === null) {
    ink.setLineDash([3, 3]);
    ink.strokeStyle = palette.lineStrong;
    ink.lineWidth = 1;
    ink.strokeRect(box.x + 0.5, barTop + 0.5, box.width - 1, barHeight - 1);
    ink.setLineDash([]);
    return;
  }
  for (const piece of pieces(stack, scene.scale, box.width)) {
    const from = box.leftwards ? wall - piece.to : wall + piece.from;
    const length = piece.to - piece.from;
    switch (piece.part) {
      case "used":
        ink.fillStyle = palette.own;
        ink.fillRect(from, barTop, length, barHeight);
        break;
      case "high":
        ink.fillStyle = palette.own2;
        ink.fillRect(from, barTop, length, barHeight);
        break;
      case "unused":
        ink.fillStyle = palette.sunken;
        ink.fillRect(from, barTop, length, barHeight);
        ink.strokeStyle = palette.lineStrong;
        ink.lineWidth = 1;
        ink.strokeRect(from + 0.5, barTop + 0.5, Math.max(0, length - 1), barHeight - 1);
        break;
      case "cut":
        // A torn edge: here the drawing leaves something out.
        torn(ink, from + 3, barTop, barHeight, palette.text3);
        break;
      case "guard":
        hatch(ink, from, barTop, length, barHeight, "transparent", palette.bad);
        break;
    }
  }
}

function torn(ink: CanvasRenderingContext2D, x: number, top: number, height: number, colour: string): void {
  ink.strokeStyle = colour;
  ink.lineWidth = 1;
  for (const shift of [0, 5]) {
    ink.beginPath();
    ink.moveTo(x + shift, top + height + 1);
    ink.lineTo(x + shift + 3, top - 1);
    ink.stroke();
  }
}

function figures(lane: Lane): string {
  const stack = lane.stack;
  if (stack === null) return "";
  const known = [stack.used_bytes, stack.resident_bytes].map((value) => (value === null ? "?" : bytes(value)));
  return `${known.join(" / ")} / ${bytes(stack.reserved_bytes)}`;
}

function hatch(ink: CanvasRenderingContext2D, x: number, y: number, width: number, height: number, ground: string, lines: string): void {
  ink.save();
  ink.beginPath();
  ink.rect(x, y, width, height);
  ink.clip();
  if (ground !== "transparent") {
    ink.fillStyle = ground;
    ink.globalAlpha = 0.35;
    ink.fillRect(x, y, width, height);
    ink.globalAlpha = 1;
  }
  ink.strokeStyle = lines;
  ink.lineWidth = 1.25;
  for (let at = x - height; at < x + width + height; at += 4) {
    ink.beginPath();
    ink.moveTo(at, y + height);
    ink.lineTo(at + height, y);
    ink.stroke();
  }
  ink.restore();
}

function clipped(ink: CanvasRenderingContext2D, text: string, width: number): string {
  if (ink.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 1 && ink.measureText(`${text.slice(0, end)}…`).width > width) end -= 1;
  return `${text.slice(0, end)}…`;
}
