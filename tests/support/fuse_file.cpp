#include "support/fuse_file.hpp"

#include "support/scratch_disk.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sapwood::test {

namespace {

constexpr std::uint64_t file_node = 2; // FUSE_ROOT_ID is 1
constexpr std::uint32_t write_bytes_max = 1 << 17;

fuse_attr attributes_of(std::uint64_t node, int backing) {
    fuse_attr attributes{};
    attributes.ino = node;
    attributes.mode = node == file_node ? S_IFREG | 0600 : S_IFDIR | 0700;
    attributes.nlink = 1;
    attributes.blksize = 4096;

    struct stat status {};

    if (node == file_node && ::fstat(backing, &status) == 0) {
        attributes.size = static_cast<std::uint64_t>(status.st_size);
    }
    return attributes;
}

template <class Body>
Body body_of(const char* message) {
    Body body;
    std::memcpy(&body, message, sizeof(body));
    return body;
}

} // namespace

fuse_file::fuse_file(int backing, gate asked) : backing_(backing), gate_(std::move(asked)) {}

std::unique_ptr<fuse_file> fuse_file::mount(int backing, gate asked, std::string& why_not) {
    std::unique_ptr<fuse_file> served(new fuse_file(backing, std::move(asked)));
    served->fuse_ = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (served->fuse_ < 0) {
        why_not = std::string("/dev/fuse cannot be opened: ") + std::strerror(errno);
        return nullptr;
    }
    const std::string options = "fd=" + std::to_string(served->fuse_) +
                                ",rootmode=40000,user_id=" + std::to_string(::getuid()) +
                                ",group_id=" + std::to_string(::getgid());
    if (const int refused = scratch_disk::own_mounts(); refused != 0) {
        why_not = std::string("no mount of our own can be made: ") + std::strerror(refused);
    } else if (::mount("sapwood-test", (served->folder_ / "").c_str(), "fuse", MS_NOSUID | MS_NODEV,
                       options.c_str()) != 0) {
        why_not = std::string("a FUSE file system cannot be mounted: ") + std::strerror(errno);
    } else {
        served->server_ = std::thread([self = served.get()] { self->serve(); });
        return served;
    }
    return nullptr;
}

fuse_file::~fuse_file() {
    if (server_.joinable()) {
        ::umount2((folder_ / "").c_str(), MNT_DETACH);
        server_.join(); // the unmounted device says ENODEV
    }
    ::close(fuse_);
    ::close(backing_);
}

void fuse_file::serve() {
    std::vector<char> message(1 << 20);
    for (;;) {
        const ssize_t size = ::read(fuse_, message.data(), message.size());
        if (size >= static_cast<ssize_t>(sizeof(fuse_in_header))) {
            answer(message.data());
        } else if (size >= 0 || (errno != EINTR && errno != ENOENT && errno != EAGAIN)) {
            return;
        }
    }
}

void fuse_file::reply(std::uint64_t unique, int error, const void* body, std::size_t size) const {
    fuse_out_header header{};
    header.len = static_cast<std::uint32_t>(sizeof(header) + size);
    header.error = -error;
    header.unique = unique;
    const std::array<iovec, 2> parts{iovec{&header, sizeof(header)},
                                     iovec{const_cast<void*>(body), size}};
    (void)!::writev(fuse_, parts.data(), 2);
}

void fuse_file::do_write(std::uint64_t unique, const char* body) {
    const auto in = body_of<fuse_write_in>(body);
    const std::string_view bytes(body + sizeof(in), in.size);
    int error = gate_({request::kind::write, bytes});
    if (error == 0 && ::pwrite(backing_, bytes.data(), bytes.size(),
                               static_cast<off_t>(in.offset)) != static_cast<ssize_t>(in.size)) {
        error = EIO;
    }
    fuse_write_out out{};
    out.size = in.size;
    reply(unique, error, &out, error == 0 ? sizeof(out) : 0);
}

void fuse_file::do_read(std::uint64_t unique, const char* body) {
    const auto in = body_of<fuse_read_in>(body);
    std::vector<char> bytes(in.size);
    int error = gate_({request::kind::read, {}});
    const ssize_t got =
        ::pread(backing_, bytes.data(), bytes.size(), static_cast<off_t>(in.offset));
    if (error == 0 && got < 0) {
        error = EIO;
    }
    reply(unique, error, bytes.data(), error == 0 ? static_cast<std::size_t>(got) : 0);
}

void fuse_file::answer(const char* message) {
    using kind = request::kind;
    const auto header = body_of<fuse_in_header>(message);
    const char* const body = message + sizeof(header);
    const auto succeed = [&](const auto& value) { reply(header.unique, 0, &value, sizeof(value)); };
    const auto ask = [&](kind what, const auto& value) {
        const int error = gate_({what, {}});
        reply(header.unique, error, &value, error == 0 ? sizeof(value) : 0);
    };
    switch (header.opcode) {
    case FUSE_INIT: {
        fuse_init_out out{};
        out.major = FUSE_KERNEL_VERSION;
        out.minor = FUSE_KERNEL_MINOR_VERSION;
        out.max_write = write_bytes_max;
        succeed(out);
        return;
    }
    case FUSE_LOOKUP: {
        if (std::strcmp(body, "file") != 0) {
            reply(header.unique, ENOENT, nullptr, 0);
            return;
        }
        fuse_entry_out out{};
        out.nodeid = file_node;
        out.attr = attributes_of(file_node, backing_);
        succeed(out);
        return;
    }
    case FUSE_GETATTR: {
        fuse_attr_out out{};
        out.attr = attributes_of(header.nodeid, backing_);
        ask(kind::look, out);
        return;
    }
    case FUSE_SETATTR: {
        const auto in = body_of<fuse_setattr_in>(body);
        if ((in.valid & FATTR_SIZE) != 0) {
            (void)!::ftruncate(backing_, static_cast<off_t>(in.size));
        }
        fuse_attr_out out{};
        out.attr = attributes_of(header.nodeid, backing_);
        succeed(out);
        return;
    }
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        ask(kind::open, fuse_open_out{});
        return;
    case FUSE_READ:
        do_read(header.unique, body);
        return;
    case FUSE_WRITE:
        do_write(header.unique, body);
        return;
    case FUSE_FSYNC:
    case FUSE_FLUSH:
        reply(header.unique, gate_({kind::sync, {}}), nullptr, 0);
        return;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
        reply(header.unique, 0, nullptr, 0);
        return;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        return; // want no answer
    default:
        reply(header.unique, ENOSYS, nullptr, 0);
        return;
    }
}

} // namespace sapwood::test
