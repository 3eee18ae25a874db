/** Files of volumes: which they are by their names, and several files of one series as one zip. */

import { Zip } from "../batch/zip.js";
import { crcOf } from "../result/png.js";

const TYPES = [
  [/\.zip$/i, "application/zip"],
  [/\.nii\.gz$/i, "application/gzip"],
  [/\.nii$/i, "application/x-nifti"],
  [/\.nrrd$/i, "application/x-nrrd"],
  [/\.(dcm|ima)$/i, "application/dicom"],
];
const WHOLE = /\.(zip|nii|nii\.gz|nrrd)$/i; // a volume each
const PICTURE = /\.(png|jpe?g)$/i;

const typeOf = ({ name }) => TYPES.find(([pattern]) => pattern.test(name))?.[1] ?? "application/dicom";

/**
 * The files as they are sent, with the type of each in `volumeType`. Where the model takes volumes, several files that
 * are no volumes by themselves are one series, and become one zip.
 */
export async function grouped(files, takesVolumes) {
  const whole = files.filter(({ name }) => WHOLE.test(name));
  const parts = files.filter(({ name }) => !WHOLE.test(name));
  const others = takesVolumes && parts.length > 1 ? [await zipped(parts)] : parts;
  return [...whole, ...others].map((file) => {
    const isPicture = PICTURE.test(file.name) || (!takesVolumes && !TYPES.some(([pattern]) => pattern.test(file.name)));
    return isPicture ? file : Object.assign(file, { volumeType: typeOf(file) });
  });
}

async function zipped(files) {
  const parts = [];
  const zip = new Zip({ write: async (part) => void parts.push(part), finish: async () => new Blob(parts) });
  for (const file of files) await zip.add(file.name, file, ~crcOf(new Uint8Array(await file.arrayBuffer()), ~0) >>> 0);
  const folder = files[0].webkitRelativePath?.split("/")[0];
  return new File([await zip.finish()], `${folder || files[0].name.replace(/\.\w+$/, "")}.zip`, { type: "application/zip" });
}
