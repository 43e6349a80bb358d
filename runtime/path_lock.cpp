#include <sapwood/fmt_library.hpp>
#include <sapwood/path_lock.hpp>

#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace sapwood::detail {

namespace {

/// Whoever has had it removes it. Only who has locked what still bears the name has the lock.
bool is_named(int fd, const std::string& name) noexcept {
    struct ::stat locked {};

    struct ::stat named {};

    return ::fstat(fd, &locked) == 0 && ::lstat(name.c_str(), &named) == 0 &&
           locked.st_dev == named.st_dev && locked.st_ino == named.st_ino;
}

/// As one that made it for this, and has not written to it, would leave it.
bool is_own(int fd) noexcept {
    struct ::stat status {};

    return ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size == 0 &&
           status.st_uid == ::geteuid();
}

/// What cannot be opened, but is there: of another user, who may have closed it or, in a folder as
/// /tmp, has the kernel keep others from it (fs.protected_regular); a link, a folder, a socket.
bool is_there(const std::string& name) noexcept {
    struct ::stat status {};

    return ::lstat(name.c_str(), &status) == 0 &&
           !(S_ISREG(status.st_mode) && status.st_size == 0 && status.st_uid == ::geteuid());
}

} // namespace

path_lock::path_lock(const std::string& path) : name_(path + ".lock") {
    constexpr int tries = 16; // as often as others come and go while it is opened
    for (int i = 0; i < tries; ++i) {
        // Whatever somebody has put there, opening it follows nothing and waits for nobody.
        owned_fd file(::open(name_.c_str(),
                             O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                             0600));
        if (!file.is_open()) {
            error_ = errno;
            state_ = is_there(name_) ? state::foreign : state::failed;
            return;
        }
        if (!is_own(file.fd())) {
            state_ = state::foreign;
            return;
        }
        if (::flock(file.fd(), LOCK_EX | LOCK_NB) != 0) {
            error_ = errno;
            state_ = error_ == EWOULDBLOCK ? state::taken : state::failed;
            return;
        }
        if (is_named(file.fd(), name_)) {
            file_ = std::move(file);
            state_ = state::held;
            return;
        }
    }
    state_ = state::taken;
}

path_lock::~path_lock() {
    if (is_held()) {
        ::unlink(name_.c_str()); // before it is unlocked: then it may be another's
    }
}

bool path_lock::may_replace(const std::string& of) const noexcept {
    struct ::stat status {};

    return is_held() || (state_ == state::foreign && ::lstat(of.c_str(), &status) == 0 &&
                         status.st_uid == ::geteuid());
}

std::string path_lock::why_not() const {
    return fmt::format(": {}: {}", name_,
                       is_taken()    ? "another process has locked it, and is about to be there"
                       : error_ != 0 ? std::generic_category().message(error_)
                                     : "it is somebody else's: remove it");
}

} // namespace sapwood::detail
