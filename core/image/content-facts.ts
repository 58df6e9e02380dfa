import { BLK, CHR, REG } from './tree.js';

const SET_UID = 0o4000;
const SET_GID = 0o2000;

/** What any image holds, for rules to judge. Counts are of inodes unless said: a file of several names counts once. */
export interface ContentFacts {
  /** Names in the tree, the root among them. */
  readonly entries: number;
  /** Character and block devices other than whiteouts. */
  readonly devices: number;
  /** Regular files with the set-uid bit, and with the set-gid bit. */
  readonly setUid: number;
  readonly setGid: number;
  /** Regular files with file capabilities. */
  readonly fileCapabilities: number;
  readonly largestUid: number;
  readonly largestGid: number;
}

/** Facts while they are counted. */
export type ContentCounts = { -readonly [Name in keyof ContentFacts]: ContentFacts[Name] };

export function noContents(): ContentCounts {
  return { entries: 0, devices: 0, setUid: 0, setGid: 0, fileCapabilities: 0, largestUid: 0, largestGid: 0 };
}

export interface CountedInode {
  readonly mode: number;
  readonly rdev: number;
  readonly uid: number;
  readonly gid: number;
  readonly hasCapability: boolean;
}

/** Adds what one inode contributes; its names are counted elsewhere. */
export function countInode(counts: ContentCounts, { mode, rdev, uid, gid, hasCapability }: CountedInode): void {
  const type = mode >> 12;
  if (type === BLK || (type === CHR && rdev !== 0)) counts.devices += 1;
  if (type === REG) {
    if ((mode & SET_UID) !== 0) counts.setUid += 1;
    if ((mode & SET_GID) !== 0) counts.setGid += 1;
    if (hasCapability) counts.fileCapabilities += 1;
  }
  counts.largestUid = Math.max(counts.largestUid, uid);
  counts.largestGid = Math.max(counts.largestGid, gid);
}
