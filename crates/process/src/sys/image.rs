//! The program that runs here, as it lies in memory: where it begins, what of it is code, and
//! which build it is.
//!
//! Two processes of one build have the same functions at the same distances from the image's
//! base, wherever the kernel put that (ASLR). So a function travels as its distance, together
//! with the build's identity: the note that the linker computes over the whole program, or,
//! where the linker wrote none, the executable file's own numbers.
//!
//! If a process dies here: nothing is shared.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

/// The main program's image.
#[derive(Debug)]
pub(crate) struct Image {
    base: usize,
    /// Addresses that hold code.
    code: Vec<Range<usize>>,
    identity: Vec<u8>,
}

impl Image {
    /// This process's.
    pub(crate) fn ours() -> &'static Image {
        static OURS: OnceLock<Image> = OnceLock::new();
        OURS.get_or_init(|| {
            let mut image = Image {
                base: 0,
                code: Vec::new(),
                identity: Vec::new(),
            };
            // SAFETY: `look` has the signature asked for, and gets `image` back, which outlives
            // the call.
            unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut image).cast()) };
            if image.identity.is_empty() {
                image.identity = identity_of_the_file();
            }
            image
        })
    }

    /// What tells this build from others.
    pub(crate) fn identity(&self) -> &[u8] {
        &self.identity
    }

    /// How far from the image's base the code at `address` lies; `None` if it is not of this
    /// image (but of a shared library, say).
    pub(crate) fn offset(&self, address: *const ()) -> Option<u64> {
        let address = address.addr();
        let ours = self.code.iter().any(|code| code.contains(&address));
        ours.then(|| (address - self.base) as u64)
    }

    /// The code so far from the image's base, if that is code.
    pub(crate) fn code_at(&self, offset: u64) -> Option<*const ()> {
        let address = self.base.checked_add(usize::try_from(offset).ok()?)?;
        let ours = self.code.iter().any(|code| code.contains(&address));
        ours.then(|| std::ptr::with_exposed_provenance(address))
    }
}

/// Called for the first loaded object, which is the program itself; asks for no more.
extern "C" fn look(info: *mut libc::dl_phdr_info, _: usize, image: *mut c_void) -> c_int {
    // SAFETY: the loader passes its own record, alive for this call, and our `image`.
    let (info, image) = unsafe { (&*info, &mut *image.cast::<Image>()) };
    if info.dlpi_phdr.is_null() {
        return 1;
    }
    // SAFETY: the loader's own table, of the length that it says; it stays as long as the
    // program is loaded.
    let headers =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    image.base = info.dlpi_addr as usize;
    for header in headers {
        let start = image.base.wrapping_add(header.p_vaddr as usize);
        let length = header.p_memsz as usize;
        match header.p_type {
            libc::PT_LOAD if header.p_flags & libc::PF_X != 0 => {
                image.code.push(start..start.wrapping_add(length));
            }
            libc::PT_NOTE => {
                // SAFETY: a segment that the loader has mapped readable for the program's life.
                // Nobody writes to it.
                let notes = unsafe {
                    std::slice::from_raw_parts(
                        std::ptr::with_exposed_provenance::<u8>(start),
                        length,
                    )
                };
                if let Some(id) = build_id(notes, header.p_align as usize) {
                    image.identity = id.to_vec();
                }
            }
            _ => {}
        }
    }
    1
}

/// The linker's note among `notes`: name length, length, kind, name, content, the last two
/// padded.
fn build_id(mut notes: &[u8], align: usize) -> Option<&[u8]> {
    const KIND: u32 = 3; // NT_GNU_BUILD_ID
    let align = align.clamp(4, 8);
    loop {
        let number = |at: usize| Some(u32::from_ne_bytes(notes.get(at..at + 4)?.try_into().ok()?));
        let (name, length) = (number(0)? as usize, number(4)? as usize);
        let kind = number(8)?;
        let content = (12 + name).next_multiple_of(align);
        let end = content.checked_add(length)?;
        let found = notes.get(content..end)?;
        if kind == KIND && notes.get(12..12 + name)? == b"GNU\0" && !found.is_empty() {
            return Some(found);
        }
        notes = notes.get(end.next_multiple_of(align)..)?;
    }
}

/// For programs linked without that note: the file that this process runs, by number, and when
/// it was last written.
fn identity_of_the_file() -> Vec<u8> {
    let Ok(file) = std::fs::metadata("/proc/self/exe") else {
        return Vec::new();
    };
    [
        file.dev(),
        file.ino(),
        file.size(),
        file.mtime() as u64,
        file.mtime_nsec() as u64,
    ]
    .into_iter()
    .flat_map(u64::to_ne_bytes)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() {}

    #[test]
    fn a_function_is_found_by_its_offset() {
        let image = Image::ours();
        let address = here as *const ();
        let offset = image.offset(address).unwrap();
        assert_eq!(image.code_at(offset), Some(address));
        assert!(!image.identity().is_empty());
    }

    #[test]
    fn what_is_not_code_of_the_program_has_no_offset() {
        let image = Image::ours();
        let local = 0;
        assert_eq!(image.offset((&raw const local).cast()), None);
        assert_eq!(image.offset(libc::getpid as *const ()), None);
        assert_eq!(image.code_at(u64::MAX), None);
        assert_eq!(image.code_at(1 << 40), None);
    }

    #[test]
    fn a_build_id_is_read_among_other_notes() {
        let note = |name: &[u8], kind: u32, content: &[u8], align: usize| {
            let mut bytes: Vec<u8> = [name.len() as u32, content.len() as u32, kind]
                .into_iter()
                .flat_map(u32::to_ne_bytes)
                .collect();
            bytes.extend_from_slice(name);
            bytes.resize(bytes.len().next_multiple_of(align), 0);
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(align), 0);
            bytes
        };
        for align in [4, 8] {
            let mut notes = note(b"GNU\0", 1, b"abi", align);
            notes.extend(note(b"Other\0", 3, b"no", align));
            assert_eq!(build_id(&notes, align), None);
            notes.extend(note(b"GNU\0", 3, b"the id", align));
            assert_eq!(build_id(&notes, align), Some(&b"the id"[..]));
            for cut in 0..notes.len() {
                let _ = build_id(&notes[..cut], align);
            }
        }
        assert_eq!(build_id(&[0xff; 64], 4), None);
    }

    #[test]
    fn the_file_has_an_identity_too() {
        assert_eq!(identity_of_the_file().len(), 40);
        assert_eq!(identity_of_the_file(), identity_of_the_file());
    }
}
