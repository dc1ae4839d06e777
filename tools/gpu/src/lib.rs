//! Nothing but a feature, `nvrtc`, which chooses CUDA's own compiler for the kernels: `NVRTC=1 bundle.sh cuda`
//! builds with it where LLVM cannot be downloaded, and with `cubecl-llvm/` in the place of CubeCL's LLVM compiler.

#[cfg(all(test, feature = "nvrtc"))]
mod tests {
    #[test]
    fn cuda_kernels_are_compiled_by_nvrtc() {
        assert_eq!(cubecl_cuda::CudaBackend::default(), cubecl_cuda::CudaBackend::Cpp);
    }
}
