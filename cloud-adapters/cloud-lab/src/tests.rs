//! The adapter on real labs. Root only: the path of each test that makes one holds `netns`.

mod netns;

/// Runs before `main` of the test binary, which cannot be changed: as a lab's keeper this binary is no test.
#[used]
// SAFETY: glibc calls what is in this section with the program's arguments, before any thread exists and after it has
// set up what `std::env::args` reads.
#[unsafe(link_section = ".init_array")]
static BECOME_KEEPER: extern "C" fn() = {
    extern "C" fn become_keeper() {
        netlab::dispatch_hidden(std::env::args_os());
    }
    become_keeper
};
