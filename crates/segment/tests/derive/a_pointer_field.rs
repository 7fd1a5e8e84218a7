use multiproc_segment::Shareable;

#[derive(Shareable)]
#[repr(C)]
struct Points {
    text: Box<str>,
}

fn main() {}
