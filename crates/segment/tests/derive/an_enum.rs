use multiproc_segment::Shareable;

#[derive(Shareable)]
#[repr(C)]
enum State {
    On,
    Off,
}

fn main() {}
