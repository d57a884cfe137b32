// A simulated accelerator for tests: memory of its own in host RAM, every operator computed by the
// CPU, and an error where an operator gets host and device tensors, as on a real accelerator.
//
// It takes the place that PyTorch reserves for backends outside its source tree (PrivateUse1).
// device.py compiles and registers this file.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

namespace {

using at::Tensor;

constexpr auto kSimulated = c10::DeviceType::PrivateUse1;
constexpr c10::DispatchKeySet kDispatch{c10::DispatchKey::PrivateUse1};

c10::Device the_device() {
  return {kSimulated, 0};
}

// --- Memory -------------------------------------------------------------------------------------

// The bytes of all living tensors on the device, and the most since the last reset.
class Usage {
 public:
  void add(int64_t bytes) {
    const std::lock_guard<std::mutex> guard(mutex_);
    current_ += bytes;
    peak_ = std::max(peak_, current_);
  }
  void reset_peak() {
    const std::lock_guard<std::mutex> guard(mutex_);
    peak_ = current_;
  }
  int64_t current() const { return current_; }
  int64_t peak() const { return peak_; }

 private:
  std::mutex mutex_;
  int64_t current_ = 0;
  int64_t peak_ = 0;
};

// Never destroyed: tensors in global variables of Python are freed after static objects.
Usage& usage() {
  static auto* counters = new Usage;
  return *counters;
}

struct Allocation {
  explicit Allocation(size_t size) : bytes(size), data(new char[size]) {
    usage().add(static_cast<int64_t>(bytes));
  }
  ~Allocation() { usage().add(-static_cast<int64_t>(bytes)); }

  const size_t bytes;
  const std::unique_ptr<char[]> data;
};

struct CountingAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) {
      return {nullptr, the_device()};
    }
    auto* allocation = new Allocation(bytes);
    const auto free = [](void* context) { delete static_cast<Allocation*>(context); };
    return {allocation->data.get(), allocation, free, the_device()};
  }
  void copy_data(void* target, const void* source, size_t bytes) const override {
    std::memcpy(target, source, bytes);
  }
};

CountingAllocator allocator;
REGISTER_ALLOCATOR(kSimulated, &allocator);

// --- Device and random numbers ------------------------------------------------------------------

// There is one device with one stream, and all its work is done when a call returns.
struct Guard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = kSimulated;

  c10::DeviceType type() const override { return kSimulated; }
  c10::Device exchangeDevice(c10::Device) const override { return the_device(); }
  c10::Device getDevice() const override { return the_device(); }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  c10::Stream getStream(c10::Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  void synchronizeDevice(c10::DeviceIndex) const override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

// A generator that belongs to the device; its numbers are drawn by a CPU generator in its state. As
// on real accelerators, a seed gives other numbers than on the CPU.
struct Generator final : at::CPUGeneratorImpl {
  Generator() {
    device_ = the_device();
    key_set_ = kDispatch;
    set_current_seed(c10::default_rng_seed_val);
  }
  void set_current_seed(uint64_t seed) override { CPUGeneratorImpl::set_current_seed(~seed); }
  uint64_t current_seed() const override { return ~CPUGeneratorImpl::current_seed(); }
};

const at::Generator& default_generator() {
  static const auto generator = at::make_generator<Generator>();
  return generator;
}

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  at::Device getDeviceFromPtr(void*) const override { return the_device(); }
  c10::Allocator* getPinnedMemoryAllocator() const override { return c10::GetCPUAllocator(); }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    return default_generator();
  }
  at::Generator getNewGenerator(c10::DeviceIndex) const override {
    return at::make_generator<Generator>();
  }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
    auto data = allocator.allocate(bytes);
    if (const auto kept = std::min(bytes, storage.nbytes())) {
      std::memcpy(data.get(), storage.data(), kept);
    }
    auto* changed = storage.unsafeGetStorageImpl();
    changed->set_data_ptr_noswap(std::move(data));
    changed->set_nbytes(bytes);
  }
};

// --- Operators that create, copy and view -------------------------------------------------------

Tensor empty(
    c10::IntArrayRef size,
    std::optional<at::ScalarType> dtype,
    std::optional<at::Layout>,
    std::optional<at::Device>,
    std::optional<bool>,
    std::optional<at::MemoryFormat> format) {
  const auto type = c10::dtype_or_default(dtype);
  return at::detail::empty_generic(size, &allocator, kDispatch, type, format);
}

Tensor empty_strided(
    c10::IntArrayRef size,
    c10::IntArrayRef stride,
    std::optional<at::ScalarType> dtype,
    std::optional<at::Layout>,
    std::optional<at::Device>,
    std::optional<bool>) {
  const auto type = c10::dtype_or_default(dtype);
  return at::detail::empty_strided_generic(size, stride, &allocator, kDispatch, type);
}

// The same memory as a CPU tensor.
Tensor on_host(const Tensor& tensor) {
  if (tensor.device().is_cpu()) {
    return tensor;
  }
  const auto options = tensor.options().device(at::kCPU);
  if (tensor.numel() == 0) {
    return at::empty_strided(tensor.sizes(), tensor.strides(), options);
  }
  return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), options);
}

Tensor copy_from(const Tensor& source, const Tensor& target, bool) {
  on_host(target).copy_(on_host(source));
  return target;
}

Tensor copy_from_and_resize(const Tensor& source, const Tensor& target) {
  at::native::resize_(target, source.sizes(), std::nullopt);
  return copy_from(source, target, false);
}

const Tensor& resize_(
    const Tensor& tensor, c10::SymIntArrayRef size, std::optional<at::MemoryFormat> format) {
  return at::native::resize_(tensor, C10_AS_INTARRAYREF_SLOW(size), format);
}

Tensor& set_storage(Tensor& tensor, c10::Storage storage) {
  const auto count = static_cast<int64_t>(storage.nbytes() / tensor.itemsize());
  return at::native::set_storage_cpu_(tensor, std::move(storage), 0, {count}, {});
}

at::Scalar local_scalar(const Tensor& tensor) {
  return on_host(tensor).item();
}

// --- All other operators ------------------------------------------------------------------------

// Raise an error for host tensors beside device tensors. Accelerators accept host tensors without
// dimensions, which are read as numbers, and host indices (the only arguments of type Tensor?[]).
void check_devices(const c10::OperatorHandle& op, c10::ArrayRef<c10::IValue> values) {
  bool on_device = false;
  std::optional<size_t> host_argument;
  const auto see = [&](const Tensor& tensor, size_t argument, bool index) {
    if (!tensor.defined()) {
      return;
    }
    if (tensor.device().type() == kSimulated) {
      on_device = true;
    } else if (tensor.dim() > 0 && !index) {
      host_argument = argument;
    }
  };
  for (size_t i = 0; i < values.size(); i++) {
    if (values[i].isTensor()) {
      see(values[i].toTensor(), i, false);
    } else if (values[i].isTensorList()) {
      for (const Tensor& tensor : values[i].toTensorVector()) {
        see(tensor, i, false);
      }
    } else if (values[i].isOptionalTensorList()) {
      for (const std::optional<Tensor>& tensor : values[i].toOptionalTensorVector()) {
        see(tensor.value_or(Tensor()), i, true);
      }
    }
  }
  TORCH_CHECK(
      !on_device || !host_argument,
      "Expected all tensors to be on the same device, but argument '",
      op.schema().arguments()[host_argument.value_or(0)].name(),
      "' of ",
      op.schema().operator_name(),
      " is on the CPU and another one on ",
      the_device());
}

bool takes_generator(const c10::Argument& argument) {
  const auto* optional = argument.type()->castRaw<c10::OptionalType>();
  const auto& type = optional ? optional->getElementType() : argument.type();
  return type->kind() == c10::TypeKind::GeneratorType;
}

void run_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& arguments = op.schema().arguments();
  const auto first = stack->size() - arguments.size();
  check_devices(op, c10::ArrayRef<c10::IValue>(*stack).slice(first));
  for (size_t i = 0; i < arguments.size(); i++) {
    if (takes_generator(arguments[i])) {
      auto& value = (*stack)[first + i];
      auto drawn = value.isNone() ? default_generator() : value.toGenerator();
      TORCH_CHECK(
          drawn.device().type() == kSimulated,
          "Expected a generator of ",
          the_device(),
          " but found one of ",
          drawn.device());
      auto generator = at::detail::createCPUGenerator();
      generator.set_state(drawn.get_state());
      value = generator;
      at::native::cpu_fallback(op, stack);
      drawn.set_state(generator.get_state());
      return;
    }
  }
  at::native::cpu_fallback(op, stack);
}

// PyTorch computes a GRU on PrivateUse1 devices by this operator, which the CPU does not have. Made
// of differentiable operators, and so registered above autograd, it needs no backward kernel.
std::tuple<Tensor, Tensor> gru_cell(
    const Tensor& input_gates,
    const Tensor& hidden_gates,
    const Tensor& hidden,
    const std::optional<Tensor>& input_bias,
    const std::optional<Tensor>& hidden_bias) {
  const auto from_input = (input_bias ? input_gates + *input_bias : input_gates).chunk(3, 1);
  const auto from_hidden = (hidden_bias ? hidden_gates + *hidden_bias : hidden_gates).chunk(3, 1);
  const auto reset = (from_input[0] + from_hidden[0]).sigmoid();
  const auto update = (from_input[1] + from_hidden[1]).sigmoid();
  const auto candidate = (from_input[2] + reset * from_hidden[2]).tanh();
  return {candidate + update * (hidden - candidate), Tensor()};
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &local_scalar);
  m.impl("resize_", &resize_);
  m.impl("set_.source_Storage", &set_storage);
  m.impl("set_.source_Storage_storage_offset", &at::native::set_storage_cpu_);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("unfold", &at::native::unfold);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
}

TORCH_LIBRARY_IMPL(aten, AutogradPrivateUse1, m) {
  m.impl("_thnn_fused_gru_cell", &gru_cell);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
}

TORCH_LIBRARY_IMPL(_, AutogradPrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFallthrough());
}

// --- What device.py needs -----------------------------------------------------------------------

TORCH_LIBRARY(simulated_accelerator, m) {
  m.def("register_hooks", [] { at::RegisterPrivateUse1HooksInterface(new Hooks); });
  m.def("memory_allocated", [] { return usage().current(); });
  m.def("max_memory_allocated", [] { return usage().peak(); });
  m.def("reset_peak_memory_stats", [] { usage().reset_peak(); });
  m.def("manual_seed", [](int64_t seed) {
    auto generator = default_generator();
    generator.set_current_seed(static_cast<uint64_t>(seed));
  });
  m.def("get_rng_state", [] { return default_generator().get_state(); });
  m.def("set_rng_state", [](const Tensor& state) {
    auto generator = default_generator();
    generator.set_state(state);
  });
}

} // namespace
